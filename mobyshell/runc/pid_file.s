# How `front.s` writes a pid file, as core/runtime and `launch` do: under another name first.

.set SYS_rename, 82
.set SYS_unlink, 87
.set HOW_PID_FILE, 0x800c1 # O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC

# write_pid(rdi: pid, rsi: other name, rdx: name) -> 0 once it is there, whole
#   rbx other name   r12 name   r13 descriptor   r14 bytes
write_pid:
    push rbx
    push r12
    push r13
    push r14
    sub rsp, 8
    mov rbx, rsi
    mov r12, rdx
    mov rax, rdi                    # its digits, the last one first, so that the first is the lowest byte
    mov ecx, 10
    xor r8d, r8d
    xor r14d, r14d
digit:
    xor edx, edx
    div rcx
    add rdx, 48                     # "0"
    shl r8, 8
    or r8, rdx
    inc r14
    test rax, rax
    jnz digit
    mov [rsp], r8
    mov rdi, AT_FDCWD
    mov rsi, rbx
    mov edx, HOW_PID_FILE
    mov r10d, 438                   # rw-rw-rw-, less the umask
    mov eax, SYS_openat
    syscall
    test rax, rax
    js told
    mov r13, rax
    mov rdi, rax
    mov rsi, rsp
    mov rdx, r14
    mov eax, SYS_write
    syscall
    sub r14, rax                    # what was not written
    mov rdi, r13
    mov eax, SYS_close
    syscall
    test r14, r14
    jnz unwritten
    mov rdi, rbx
    mov rsi, r12
    mov eax, SYS_rename
    syscall
    test rax, rax
    jz told
unwritten:
    mov rdi, rbx
    mov eax, SYS_unlink
    syscall
    mov rax, -1
told:
    add rsp, 8
    pop r14
    pop r13
    pop r12
    pop rbx
    ret
