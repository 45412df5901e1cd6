# How `front.s` takes back what was made for a container.

.set SYS_lstat, 6
.set SYS_nanosleep, 35
.set SYS_rmdir, 84
.set SYS_getdents64, 217
.set SYS_unlinkat, 263
.set TRIES, 8000        # of half a millisecond each
.set PAUSE, 500000
.set ENOENT, -2
.set EBUSY, -16
.set HOW_DIRECTORY, 0xb0000 # O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC
.set ENTRIES, 2048      # bytes of them at a time
.set D_RECLEN, 16
.set D_NAME, 19

# removed(rdi: path of a cgroup): it is busy until the kernel is through with the last process. What
# has groups in it (links, besides its own two) is not ours to wait for.
#   r12 path   r13 tries
removed:
    push r12
    push r13
    sub rsp, STAT_BYTES
    mov r12, rdi
    mov r13d, TRIES
busy:
    mov rdi, r12
    mov eax, SYS_rmdir
    syscall
    test rax, rax
    jz away
    cmp rax, ENOENT
    je nowhere
    cmp rax, EBUSY
    jne away
    mov rdi, r12
    mov rsi, rsp
    mov eax, SYS_lstat
    syscall
    test rax, rax
    jnz again
    mov eax, 1
    cmp qword ptr [rsp+ST_NLINK], 2
    ja away
again:
    xor eax, eax
    mov [rsp], rax
    mov qword ptr [rsp+8], PAUSE
    mov rdi, rsp
    xor esi, esi
    mov eax, SYS_nanosleep
    syscall
    dec r13d
    jnz busy
    mov eax, 1
    jmp away
nowhere:
    xor eax, eax
away:
    add rsp, STAT_BYTES
    pop r13
    pop r12
    ret

# emptied(rdi: path of a directory that has only files in it)
#   rbx descriptor   r12 path   r13 entry   r14 end of the entries
emptied:
    push rbx
    push r12
    push r13
    push r14
    sub rsp, ENTRIES
    mov r12, rdi
    mov rsi, rdi
    mov rdi, AT_FDCWD
    mov edx, HOW_DIRECTORY
    xor r10d, r10d
    mov eax, SYS_openat
    syscall
    test rax, rax
    js kept
    mov rbx, rax
entries:
    mov rdi, rbx
    mov rsi, rsp
    mov edx, ENTRIES
    mov eax, SYS_getdents64
    syscall
    test rax, rax
    js kept
    jz bare
    mov r13, rsp
    lea r14, [rsp+rax]
entry:
    cmp r13, r14
    jae entries
    mov eax, [r13+D_NAME]
    and eax, 0xffff
    cmp eax, 0x2e                   # "."
    je passed
    mov eax, [r13+D_NAME]
    and eax, 0xffffff
    cmp eax, 0x2e2e                 # ".."
    je passed
    mov rdi, rbx
    lea rsi, [r13+D_NAME]
    xor edx, edx
    mov eax, SYS_unlinkat
    syscall
    test rax, rax
    js kept
passed:
    mov eax, [r13+D_RECLEN]
    and eax, 0xffff
    add r13, rax
    jmp entry
bare:
    mov rdi, rbx
    mov eax, SYS_close
    syscall
    mov rdi, r12
    mov eax, SYS_rmdir
    syscall
kept:
    add rsp, ENTRIES
    pop r14
    pop r13
    pop r12
    pop rbx
    ret
