# What `verbs.s` knows of a container by its record (`record.s`): whether its init lives, and its control
# groups.

.set SYS_newfstatat, 262
.set HOW_WRITE, 0x80001 # O_WRONLY|O_CLOEXEC
.set HOW_DIRECTORY, 0x90000 # O_RDONLY|O_DIRECTORY|O_CLOEXEC
.set ST_LINKS, 16
.set SINCE_WORD, 20     # of field 22 of a /proc/PID/stat, behind the name in brackets

proc_name:
    .asciz "/proc/"
stat_name:
    .asciz "/stat"
freezer_name:
    .asciz "\"freezer\""
unified_name:
    .asciz "\"\""

# place(rsi: a string) -> rdi at the zero behind it, at PATH_ROOM; rsi behind it
place:
    lea rdi, [rbx+PATH_ROOM]
    lea rdx, [rbx+PATH_END]
step:
    inc rsi
    movzx eax, byte ptr [rsi]
    cmp eax, 34
    je placed
    cmp eax, 92                     # what is escaped is no plain path
    je python
    mov [rdi], al
    inc rdi
    cmp rdi, rdx
    jb step
    jmp python
placed:
    mov byte ptr [rdi], 0
    inc rsi
    ret

# group(rdx: a controller's name, in quotes) -> whether it has a group there, in rax; then as `place`
group:
    mov rsi, [rbx+M_CGROUPS]
    inc rsi
pair:
    cmp byte ptr [rsi], 34
    jne no_group
    mov r8, rsi
    mov r9, rdx
same_letter:
    movzx eax, byte ptr [r9]
    test eax, eax
    jz same_name
    movzx ecx, byte ptr [r8]
    inc r8
    inc r9
    cmp eax, ecx
    je same_letter
    call string
    add rsi, 2
    call string
    call behind
    jmp pair
same_name:
    lea rsi, [r8+2]
    call place
    mov eax, 1
    ret
no_group:
    xor eax, eax
    ret

# behind(rsi: at the end of one of many) -> rsi at the next one, or at the closing bracket
behind:
    cmp byte ptr [rsi], 44
    jne last_one
    add rsi, 2
last_one:
    ret

# alive() -> whether the init runs, and is no zombie, in rax
alive:
    lea rdi, [rbx+PATH_ROOM]
    lea rsi, [rip+proc_name]
    call copy
    lea rdx, [rbx+M_PID]
    call member
    lea rsi, [rip+stat_name]
    call copy
    mov rdi, AT_FDCWD
    lea rsi, [rbx+PATH_ROOM]
    lea rdx, [rbx+STAT_ROOM]
    mov ecx, STAT_BYTES
    call slurp
    test rax, rax
    js lifeless
    lea rsi, [rbx+STAT_ROOM]
    mov byte ptr [rsi-1], 41        # one is found in any case
    add rsi, rax
name_ends:                          # it may have spaces and brackets in it: from the last of these
    dec rsi
    cmp byte ptr [rsi], 41
    jne name_ends
    movzx eax, byte ptr [rsi+2]
    cmp eax, 90                     # "Z", and "X"
    je lifeless
    cmp eax, 88
    je lifeless
    mov ecx, SINCE_WORD
field:
    inc rsi
    movzx eax, byte ptr [rsi]
    test eax, eax
    jz python
    cmp eax, 32
    jne field
    dec ecx
    jnz field
    inc rsi
    mov rdi, [rbx+M_PID_START]
    mov rcx, [rbx+M_PID_START+8]
    sub rcx, rdi
    repe cmpsb
    jne lifeless
    cmp byte ptr [rsi], 32
    jne lifeless
    mov eax, 1
    ret
lifeless:
    xor eax, eax
    ret

# dies_alone(): whether the death of its init takes all others along, and nothing frozen inside of
# its group holds one up; else it is Python's
dies_alone:
    mov rsi, [rbx+M_NAMESPACES]
    mov rcx, [rbx+M_NAMESPACES+8]
    sub rcx, rsi
    lea rdx, [rip+pid_word]
    mov r8d, 5
    call contains
    test eax, eax
    jz python
    lea rdx, [rip+freezer_name]
    call group
    test eax, eax
    jz dies
    mov rdi, AT_FDCWD
    lea rsi, [rbx+PATH_ROOM]
    lea rdx, [rbx+SMALL]
    xor r10d, r10d
    mov eax, SYS_newfstatat
    syscall
    test rax, rax
    jnz python
    mov rax, [rbx+SMALL+ST_LINKS]   # each group below is a link more
    cmp rax, 2
    ja python
dies:
    ret
pid_word:
    .asciz "\"pid\""

# thaw(): let its group run, if it has a freezer; it may be gone with those that were killed
thaw:
    lea rdx, [rip+freezer_name]
    call group
    test eax, eax
    jz thaw_unified
    lea rsi, [rip+freezer_file]
    lea rdx, [rip+thawed_word]
    mov ecx, 6
    jmp spell
thaw_unified:
    lea rdx, [rip+unified_name]
    call group
    test eax, eax
    jz thawed
    lea rsi, [rip+freeze_file]
    lea rdx, [rip+zero_word]
    mov ecx, 1
    jmp spell
thawed:
    ret
freezer_file:
    .asciz "/freezer.state"
thawed_word:
    .asciz "THAWED"
freeze_file:
    .asciz "/cgroup.freeze"
zero_word:
    .asciz "0"

# spell(rdi: the end of a directory's path, rsi: a file in it, rdx: what is written, rcx: its bytes)
#   -> what write(2) answers, or open(2) if not
spell:
    push r12
    push r14
    mov r12, rdx
    mov r14, rcx
    call copy
    mov rdi, AT_FDCWD
    lea rsi, [rbx+PATH_ROOM]
    mov edx, HOW_WRITE
    xor r10d, r10d
    mov eax, SYS_openat
    syscall
    test rax, rax
    js spelled
    mov rdi, rax
    mov rsi, r12
    mov rdx, r14
    mov r12, rax
    mov eax, SYS_write
    syscall
    mov r14, rax
    mov rdi, r12
    mov eax, SYS_close
    syscall
    mov rax, r14
spelled:
    pop r14
    pop r12
    ret

# nobody(): that nobody is in the group at PATH_ROOM, and none is below it; or else it is Python's. Not
# being there is as good.
nobody:
    push r15
    mov rdi, AT_FDCWD
    lea rsi, [rbx+PATH_ROOM]
    mov edx, HOW_DIRECTORY
    xor r10d, r10d
    mov eax, SYS_openat
    syscall
    cmp rax, NO_ENTRY
    je nobody_there
    test rax, rax
    js python
    mov r15, rax
    mov rdi, rax
    lea rsi, [rbx+SMALL]
    mov eax, SYS_fstat
    syscall
    test rax, rax
    jnz python
    mov rax, [rbx+SMALL+ST_LINKS]   # each group below is a link more
    cmp rax, 2
    ja python
    mov rdi, r15
    lea rsi, [rip+procs_file]
    lea rdx, [rbx+FILE_ROOM]
    mov ecx, FILE_BYTES
    call slurp
    test rax, rax
    jnz python
    mov rdi, r15
    mov eax, SYS_close
    syscall
nobody_there:
    pop r15
    ret
procs_file:
    .asciz "cgroup.procs"
