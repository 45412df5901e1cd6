# What a child becomes before it becomes its program, and whoever makes several: behind `stub.s`, whose
# names and routines it uses.

# The launcher: descriptor 3 is the program, descriptor 4 the one before it, if there is one.
start:
    mov rax, [rsp]                  # argc, argv, 0, envp, 0, auxv
    lea rsi, [rsp+rax*8+16]
environment:
    mov rax, [rsi]
    add rsi, 8
    test rax, rax
    jnz environment
    xor r15d, r15d
auxiliary:
    mov rax, [rsi]
    mov rdx, [rsi+8]
    add rsi, 16
    cmp eax, AT_SYSINFO_EHDR
    jne other
    mov r15, rdx
other:
    test rax, rax
    jnz auxiliary
    mov edi, LOW
    mov esi, PAGE
    mov r8d, 3
    call map
    mov rax, COOKIE
    cmp [rdi+MAGIC], rax
    jne refuse
    mov rbx, [rdi+BASE]
    mov r12, [rdi+BYTES]
    mov esi, PAGE
    mov eax, SYS_munmap
    syscall
    mov rdi, rbx
    mov rsi, r12
    call map
    mov rdx, [rbx+CLOCK]
    test rdx, rdx
    jz unclocked
    test r15, r15
    jz unclocked
    add r15, rdx
    jmp clocked
unclocked:
    xor r15d, r15d
clocked:
    mov edi, 15                     # PR_SET_NAME
    lea rsi, [rbx+NAME]
    mov eax, SYS_prctl
    syscall
    sub rsp, 48                     # a struct sigaction of zeros: what was ignored shall not be
    xor eax, eax
    mov [rsp], rax
    mov [rsp+8], rax
    mov [rsp+16], rax
    mov [rsp+24], rax
    mov r12d, 64
signals:
    mov edi, r12d
    mov rsi, rsp
    xor edx, edx
    mov r10d, 8
    mov eax, SYS_rt_sigaction
    syscall
    dec r12d
    jnz signals
    mov r13, [rbx+BEFORE]
    test r13, r13
    jz alone
    mov rdi, r13
    mov rsi, [rbx+BEFORE_BYTES]
    mov r8d, 4
    call map
    lea rdi, [r13+HEADER]
    mov rsi, [r13+LENGTH]
    mov rdx, r15
    call run
    test rax, rax
    jns refuse
alone:
    mov rax, [rbx+BEHIND]
    test rax, rax
    jz become
    cmp eax, USHER
    je usher
    lea rdi, [rbx+CLONE_ARGS]
    mov esi, CLONE_ARGS_SIZE
    mov eax, SYS_clone3
    syscall
    test rax, rax
    jz become
    mov [rbx+CHILD], rax
    xor edi, edi
    jmp exit
become:
    sub rsp, 32                     # a struct sigaction: a first process ignores what it does not
    lea rax, [rip+signalled]        # handle (pid_namespaces(7)), so until it is its program these end it
    mov [rsp], rax
    mov eax, SA_RESTORER            # which the kernel insists on, though nobody returns
    mov [rsp+8], rax
    xor eax, eax
    mov [rsp+16], rax
    mov [rsp+24], rax
    mov r12d, SIGTERM
handlers:
    mov edi, r12d
    mov rsi, rsp
    xor edx, edx
    mov r10d, 8
    mov eax, SYS_rt_sigaction
    syscall
    cmp r12d, SIGTERM
    jne lower
    mov r12d, ABOVE_SIGQUIT
lower:
    dec r12d                        # SIGQUIT, SIGINT, SIGHUP
    jnz handlers
    lea rdi, [rbx+HEADER]
    mov rsi, [rbx+LENGTH]
    mov rdx, r15
    call run
    xor edi, edi
    test rax, rax
    js exit
refuse:
    mov edi, FAILED
exit:
    mov eax, SYS_exit_group
    syscall
signalled:                          # (edi: a signal)
    add edi, SIGNALLED
    jmp exit

# An usher first walks its own program. Then every order is a child beside us, which walks the
# program of the order's first descriptor; the end of the line is the end of us. The child has our
# memory until it is its own program, with a stack of its own in it, and we do not wait for that: so
# nobody else has the end of the pipe that tells of it. There is no other order before.
usher:
    lea rdi, [rbx+HEADER]
    mov rsi, [rbx+LENGTH]
    mov rdx, r15
    call run
    test rax, rax
    jns refuse
    mov r12, [rbx+BYTES]
    sub rsp, 144                    # struct msghdr, at 64 struct iovec, at 80 the order, at 96 beside
    xor eax, eax
    mov [rsp], rax                  # no name
    mov [rsp+8], rax
    lea rdx, [rsp+64]
    mov [rsp+16], rdx
    mov qword ptr [rsp+24], 1
    lea rdx, [rsp+96]
    mov [rsp+32], rdx
    lea rdx, [rsp+80]
    mov [rsp+64], rdx
    mov qword ptr [rsp+72], ORDER
order:
    xor edi, edi                    # what comes with an order takes the lowest numbers
    mov esi, GIVEN
    xor edx, edx
    mov eax, SYS_close_range
    syscall
    mov qword ptr [rsp+40], BESIDE
    mov edi, LINE
    mov rsi, rsp
    xor edx, edx
    mov eax, SYS_recvmsg
    syscall
    xor edi, edi
    cmp rax, ORDER
    jne exit
    mov rax, [rsp+40]
    cmp rax, BESIDE
    jne exit
    mov rax, [rsp+88]
    test rax, rax
    jz there                        # no length: the last one again
    mov rdi, rbx                    # where the last one lies, this one may lie
    mov rsi, r12
    mov eax, SYS_munmap
    syscall
    mov rbx, [rsp+80]
    mov r12, [rsp+88]
    mov rdi, rbx
    mov rsi, r12
    xor r8d, r8d
    call map
there:
    lea rax, [rsp-CHILD_STACK_BELOW]
    mov [rbx+CLONE_STACK], rax
    mov qword ptr [rbx+CLONE_STACK+8], CHILD_STACK
    lea rdi, [rbx+CLONE_ARGS]
    mov esi, CLONE_ARGS_SIZE
    mov eax, SYS_clone3             # it writes the pid itself, before the child begins
    syscall
    test rax, rax
    jz become
    jns order
    mov [rbx+CHILD], rax
    jmp order

# map(rdi: address, rsi: bytes, r8: descriptor): there, shared, or the end of the process
map:
    mov edx, PROT_READ_WRITE
    mov r10d, MAP_SHARED_FIXED_NOREPLACE_POPULATE
    xor r9d, r9d
    mov eax, SYS_mmap
    syscall
    cmp rax, rdi
    jne refuse
    ret
