# delete of a container by its record, for `verbs.s`: as quick_verbs.py does it.

.set SYS_lseek, 8
.set SYS_nanosleep, 35
.set SYS_flock, 73
.set SYS_rmdir, 84
.set SYS_getdents64, 217

.set NO_PROCESS, -3
.set BUSY, -16
.set TRIES, 4000        # to remove a group that is busy, with a PAUSE between
.set PAUSE, 500000      # nanoseconds
.set DIRECTORY_TYPE, 4  # of an entry; 0 if the file system does not tell
.set LISTING_BYTES, 0x10000
.set E_LENGTH, 16       # a struct linux_dirent64
.set E_TYPE, 18
.set E_NAME, 19

# What it mounted without a mount namespace is the host's, and has to be unmounted; a unit is systemd's.
delete:
    mov rax, [rbx+M_UNIT+8]
    sub rax, [rbx+M_UNIT]
    cmp eax, 2
    jne python
    mov rax, [rbx+M_RESCTRL+8]
    sub rax, [rbx+M_RESCTRL]
    cmp eax, 2
    jne python
    mov rsi, [rbx+M_NAMESPACES]
    mov rcx, [rbx+M_NAMESPACES+8]
    sub rcx, rsi
    lea rdx, [rip+mount_word]
    mov r8d, 7
    call contains
    test eax, eax
    jz python
    call config
    lea rdx, [rip+poststop_word]
    mov r8d, 10
    call configured
    test eax, eax
    jnz python
    xor r14d, r14d                  # directories are not removed, so there must be none
    call listed
    call alive
    test eax, eax
    jz ungroup
    call wide
    je python
    call dies_alone
    call hold
    mov r15, rax
    mov esi, SIGKILL
    call send
    cmp rax, NO_PROCESS
    je ungroup
    test rax, rax
    jnz python
    call thaw
    mov edi, r15d
    mov esi, POLLIN
    call wait
    test rax, rax
    jz python

# Its groups; busy until the kernel is through with the last process, its zombie included.
ungroup:
    mov r14, [rbx+M_CGROUPS]
    inc r14
    mov r15d, TRIES
next_group:
    cmp byte ptr [r14], 34
    jne ungrouped
    mov rsi, r14
    call string
    add rsi, 2
    call place
    call behind
    push rsi
remove_group:
    call remove_directory
    test rax, rax
    jz group_is_gone
    cmp rax, NO_ENTRY
    je group_is_gone
    cmp rax, BUSY
    jne python
    call nobody
    dec r15d
    jz python
    xor eax, eax                    # struct timespec
    mov [rbx+SMALL], rax
    mov qword ptr [rbx+SMALL+8], PAUSE
    lea rdi, [rbx+SMALL]
    xor esi, esi
    mov eax, SYS_nanosleep
    syscall
    jmp remove_group
group_is_gone:
    pop r14
    jmp next_group

# The directories above that were made for it: the last one to leave takes them away.
ungrouped:
    mov r14, [rbx+M_LEVELS]
    inc r14
next_level:
    cmp byte ptr [r14], 34
    jne forget
    mov rsi, r14
    call place
    call behind
    mov r14, rsi
    call remove_directory
    test rax, rax
    jz next_level

# The container, as core/runtime/directories.forget does it: renamed, so that it is there whole or not.
forget:
    mov rdi, r13
    mov esi, 2                      # LOCK_EX, until we end
    mov eax, SYS_flock
    syscall
    test rax, rax
    jnz python
    call open_container
    test rax, rax
    js python
    mov rdi, rax
    lea rsi, [rip+state_name]
    lea rdx, [rbx+FILE_ROOM]
    mov ecx, FILE_BYTES
    call slurp
    lea rsi, [rbx+RECORD_ROOM]
    mov rcx, [rbx+RECORD_END]
    sub rcx, rsi
    cmp rax, rcx                    # meanwhile it may be another one's
    jne python
    lea rdi, [rbx+FILE_ROOM]
    repe cmpsb
    jne python
    lea rdi, [rbx+NAME_ROOM]
    lea rsi, [rip+gone_name]
    call copy
    call number_of_us
    mov byte ptr [rdi], 45          # "-"
    inc rdi
    push rdi
    call clock
    pop rdi
    xor ecx, ecx
    call decimal
    mov byte ptr [rdi], 0
    mov rdi, r13
    mov rsi, [rbp+V_ID]
    mov rdx, r13
    lea r10, [rbx+NAME_ROOM]
    mov eax, SYS_renameat
    syscall
    test rax, rax
    jnz python
    mov rdi, r13
    mov esi, 8                      # LOCK_UN
    mov eax, SYS_flock
    syscall
    mov r14d, 1
    call listed
    mov rdi, r13
    lea rsi, [rbx+NAME_ROOM]
    mov edx, 0x200                  # AT_REMOVEDIR
    mov eax, SYS_unlinkat
    syscall
    jmp done
mount_word:
    .asciz "\"mount\""
poststop_word:
    .asciz "\"poststop\""
gone_name:
    .asciz ".gone-"

# remove_directory(): the one at PATH_ROOM -> 0 or -errno
remove_directory:
    lea rdi, [rbx+PATH_ROOM]
    mov eax, SYS_rmdir
    syscall
    ret

# listed(r14): what is in the container's directory is removed, or else (0) must be no directory
listed:
    mov rdi, r12
    xor esi, esi
    xor edx, edx                    # SEEK_SET
    mov eax, SYS_lseek
    syscall
some:
    mov rdi, r12
    lea rsi, [rbx+FILE_ROOM]
    mov edx, LISTING_BYTES
    mov eax, SYS_getdents64
    syscall
    test rax, rax
    js unlisted
    jz all_listed
    lea r15, [rbx+FILE_ROOM]
    lea r9, [r15+rax]
entry:
    cmp r15, r9
    jae some
    test r14d, r14d
    jnz removal
    movzx eax, byte ptr [r15+E_TYPE]
    test eax, eax
    jz python
    cmp eax, DIRECTORY_TYPE
    jne entered
    lea rsi, [r15+E_NAME]           # but itself, and the one above
    cmp byte ptr [rsi], 46
    jne python
    cmp byte ptr [rsi+1], 46
    jne one_dot
    inc rsi
one_dot:
    cmp byte ptr [rsi+1], 0
    jne python
    jmp entered
removal:
    mov rdi, r12
    lea rsi, [r15+E_NAME]
    xor edx, edx
    mov eax, SYS_unlinkat
    syscall                         # what stays is removed with the next container's making
entered:
    movzx eax, byte ptr [r15+E_LENGTH]
    movzx ecx, byte ptr [r15+E_LENGTH+1]
    shl ecx, 8
    or eax, ecx
    add r15, rax
    jmp entry
unlisted:
    test r14d, r14d
    jz python
all_listed:
    ret
