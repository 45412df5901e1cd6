# How `front.s` writes a pid file, as core/runtime and `launch` do: under another name first.

.set SYS_rename, 82
.set SYS_unlink, 87
.set HOW_PID_FILE, 0x800c1 # O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC

# pid_file(rdi: value): it is there, whole, or nobody wants one
#   rbx value   r12 descriptor   r13 bytes that were not written
pid_file:
    mov rsi, [rbp+A_PID_FILE]
    movzx eax, byte ptr [rsi]
    test eax, eax
    jz yes
    push rbx
    push r12
    push r13
    mov rbx, rdi
    mov rdi, AT_FDCWD
    mov rsi, [rbp+A_TEMPORARY]
    mov edx, HOW_PID_FILE
    mov r10d, 438                   # rw-rw-rw-, less the umask
    mov eax, SYS_openat
    syscall
    test rax, rax
    js told
    mov r12, rax
    mov rdi, rax
    mov rsi, [rbx]
    mov rdx, [rbx+8]
    mov r13, rdx
    mov eax, SYS_write
    syscall
    sub r13, rax
    mov rdi, r12
    mov eax, SYS_close
    syscall
    test r13, r13
    jnz unwritten
    mov rdi, [rbp+A_TEMPORARY]
    mov rsi, [rbp+A_PID_FILE]
    mov eax, SYS_rename
    syscall
    test rax, rax
    jz told
unwritten:
    mov rdi, [rbp+A_TEMPORARY]
    mov eax, SYS_unlink
    syscall
    mov eax, 1
told:
    pop r13
    pop r12
    pop rbx
    ret
