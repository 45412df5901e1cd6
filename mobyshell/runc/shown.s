# state of a container by its record, for `verbs.s`: as quick_state.py shows it, to the byte.

.set CIVIL, 719468      # days from 1 March of the year 0 to 1970
.set ERA, 146097        # days of 400 years
.set CENTURY, 36524
.set ERA_CYCLE, 146096  # likewise of an era
.set LEAP_CYCLE, 1460   # days of 4 years, less the one

# "'" stands for a quote; "A" and so on for the member of the record with that number; "@" and a letter
# for what is not in it: the pid, the status, the time, the annotations.
shown:
    .ascii "{\n  'ociVersion': N,\n  'id': A,\n  'pid': @p,\n  'status': '@s',\n  'bundle': D,\n"
    .asciz "  'rootfs': E,\n  'created': '@t',\n@a  'owner': 'root'\n}"
annotations_begin:
    .asciz "  \"annotations\": {\n"
annotation_begins:
    .asciz "    "
annotation_ends:
    .asciz ",\n"
annotations_end:
    .asciz "\n  },\n"
passwd_name:
    .asciz "/etc/passwd"
root_entry:
    .asciz "root:"
stopped_word:
    .asciz "stopped"
created_word:
    .asciz "created"
running_word:
    .asciz "running"
paused_word:
    .asciz "paused"
frozen_word:
    .asciz "FROZEN\n"
frozen_line:
    .asciz "frozen 1\n"
events_file:
    .asciz "/cgroup.events"

#   r13 the place in what is shown   r14 the status   r15 whether the init lives
state:
    mov rax, [rbx+HAS_UNICODE]      # in the record all is ASCII, and here it is not
    test eax, eax
    jnz python
    call owned_by_root
    call status
    lea r13, [rip+shown]
    lea rdi, [rbx+TEXT_ROOM]
show:
    movzx eax, byte ptr [r13]
    inc r13
    test eax, eax
    jz show_it
    lea rdx, [rax-65]
    cmp edx, 20                     # members
    jb show_member
    cmp eax, 64
    je show_other
    cmp eax, 39
    jne show_letter
    mov eax, 34
show_letter:
    mov [rdi], al
    inc rdi
    jmp show
show_member:
    shl rdx, 4
    add rdx, rbx
    call member
    jmp show
show_other:
    movzx eax, byte ptr [r13]
    inc r13
    cmp eax, 112                    # "p"
    je show_pid
    cmp eax, 116                    # "t"
    je show_time
    cmp eax, 97                     # "a"
    je show_annotations
    mov rsi, r14
    call copy
    jmp show
show_pid:
    mov eax, 48                     # "0"
    test r15d, r15d
    jz show_letter
    lea rdx, [rbx+M_PID]
    call member
    jmp show
show_time:
    mov rsi, [rbx+M_CREATED]
    call number
    call time
    jmp show
show_annotations:
    mov r8, [rbx+M_ANNOTATIONS]
    inc r8
    cmp byte ptr [r8], 34
    jne show
    lea rsi, [rip+annotations_begin]
annotation:
    call copy
    lea rsi, [rip+annotation_begins]
    call copy
    mov rsi, r8
    call string
    add rsi, 2
    call string
    mov rcx, rsi
    sub rcx, r8
    mov rsi, r8
    rep movsb
    call behind
    mov r8, rsi
    lea rsi, [rip+annotation_ends]
    cmp byte ptr [r8], 34
    je annotation
    lea rsi, [rip+annotations_end]
    call copy
    jmp show

show_it:
    lea rsi, [rbx+TEXT_ROOM]
    mov r14, rdi
    mov r13, rsi
write_rest:
    mov edi, 1
    mov rsi, r13
    mov rdx, r14
    sub rdx, r13
    jz done
    mov eax, SYS_write
    syscall
    test rax, rax
    js python
    add r13, rax
    jmp write_rest

# owned_by_root(): whoever else made it has a name that the C library finds
owned_by_root:
    mov rsi, [rbx+M_OWNER]
    cmp byte ptr [rsi], 48          # "0"
    jne python
    mov rdi, AT_FDCWD
    lea rsi, [rip+passwd_name]
    lea rdx, [rbx+FILE_ROOM]
    mov ecx, FILE_BYTES
    call slurp
    test rax, rax
    js python
    lea rsi, [rbx+FILE_ROOM]
    lea rdi, [rip+root_entry]
    mov ecx, 5
    repe cmpsb
    jne python
password:
    movzx eax, byte ptr [rsi]
    inc rsi
    cmp eax, 32
    jb python
    cmp eax, 58                     # ":"
    jne password
    cmp byte ptr [rsi], 48
    jne python
    cmp byte ptr [rsi+1], 58
    jne python
    ret

# status() -> in r14 what the kernel says now; r15
status:
    call alive
    mov r15d, eax
    lea r14, [rip+stopped_word]
    test eax, eax
    jz told_status
    mov rdi, r12
    lea rsi, [rip+fifo_name]
    lea rdx, [rbx+SMALL]
    mov r10d, 0x100                 # AT_SYMLINK_NOFOLLOW
    mov eax, SYS_newfstatat
    syscall
    cmp rax, NO_ENTRY
    je started
    test rax, rax
    jnz python
    lea rsi, [rip+creator_name]     # while it is made
    call absent
    lea r14, [rip+created_word]
    jmp moving
started:
    lea r14, [rip+running_word]
moving:
    lea rdx, [rip+freezer_name]
    call group
    test eax, eax
    jz started_unified
    lea rsi, [rip+freezer_file]
    lea rdx, [rip+frozen_word]
    mov r8d, 7
    jmp frozen
started_unified:
    lea rdx, [rip+unified_name]
    call group
    test eax, eax
    jz told_status
    lea rsi, [rip+events_file]
    lea rdx, [rip+frozen_line]
    mov r8d, 9
frozen:
    push rdx
    push r8
    call copy
    mov rdi, AT_FDCWD
    lea rsi, [rbx+PATH_ROOM]
    lea rdx, [rbx+FILE_ROOM]
    mov ecx, FILE_BYTES
    call slurp
    pop r8
    pop rdx
    test rax, rax
    js python
    mov rcx, rax
    lea rsi, [rbx+FILE_ROOM]
    call contains
    test eax, eax
    jz told_status
    lea r14, [rip+paused_word]
told_status:
    ret

# time(rax: nanoseconds since the epoch, rdi) -> rdi behind it, as RFC 3339 has it. Days are counted in
# years that python in March, so that the leap day is the last one, and in eras of 400 of them.
#   r8 year   r9 day of the era, then of the year, then of the month   r10 month
time:
    mov ecx, 1000000000
    xor edx, edx
    div rcx
    push rdx
    mov ecx, 86400
    xor edx, edx
    div rcx
    push rdx
    add rax, CIVIL
    mov ecx, ERA
    xor edx, edx
    div rcx
    imul r8, rax, 400
    mov r9, rdx
    mov rax, rdx                    # leap days out of the way: then each year has 365
    mov ecx, LEAP_CYCLE
    call over
    mov r10, r9
    sub r10, rax
    mov rax, r9
    mov ecx, CENTURY
    call over
    add r10, rax
    mov rax, r9
    mov ecx, ERA_CYCLE
    call over
    sub r10, rax
    mov rax, r10
    mov ecx, 365
    call over
    add r8, rax
    imul r10, rax, 365
    sub r9, r10
    mov r10, rax
    shr r10, 2
    sub r9, r10
    mov ecx, 100
    call over
    add r9, rax
    imul rax, r9, 5                 # months of 153 days each five
    add rax, 2
    mov ecx, 153
    call over
    mov r10, rax
    imul rax, rax, 153
    add rax, 2
    mov ecx, 5
    call over
    sub r9, rax
    inc r9
    add r10, 3
    cmp r10, 12
    jbe calendar
    sub r10, 12
    inc r8
calendar:
    push r9
    push r10
    mov rax, r8
    mov ecx, 4
    call decimal
    mov byte ptr [rdi], 45          # "-"
    inc rdi
    pop rax
    call two
    mov byte ptr [rdi], 45
    inc rdi
    pop rax
    call two
    mov byte ptr [rdi], 84          # "T"
    inc rdi
    pop rax
    mov ecx, 3600
    xor edx, edx
    div rcx
    push rdx
    call two
    mov byte ptr [rdi], 58          # ":"
    inc rdi
    pop rax
    mov ecx, 60
    xor edx, edx
    div rcx
    push rdx
    call two
    mov byte ptr [rdi], 58
    inc rdi
    pop rax
    call two
    mov byte ptr [rdi], 46          # "."
    inc rdi
    pop rax
    mov ecx, 9
    call decimal
    mov byte ptr [rdi], 90          # "Z"
    inc rdi
    ret

# over(rax, rcx) -> their quotient
over:
    xor edx, edx
    div rcx
    ret

# two(rax, rdi) -> rdi behind two digits
two:
    mov ecx, 2
    jmp decimal
