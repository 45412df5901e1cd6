# The processes that `front.s` makes: the launcher (stub.s), and the child that it makes beside itself.

.set SYS_poll, 7
.set SYS_kill, 62
.set SYS_pidfd_send_signal, 424
.set KILL, 9
.set WEXITED, 4
.set P_PID, 1
.set SI_CODE, 8
.set SI_STATUS, 24
.set CLD_EXITED, 1
.set SIGINFO_BYTES, 128

# launch(rdi: records, rsi: how many, rdx: clone_args)
launch:
    mov rcx, rsi
    mov rsi, rdx
    mov rdx, rdi
    mov rdi, rsi
    mov esi, CLONE_ARGS_SIZE
    xor r8d, r8d
    call spawn
    mov [rbx+T_SPAWNED], rax
    test rax, rax
    js no
    jmp yes

# reaped(): the last one has ended with status 0
reaped:
    sub rsp, 16
    mov rdi, [rbx+T_SPAWNED]
    mov rsi, rsp
    xor edx, edx
    xor r10d, r10d
    mov eax, SYS_wait4
    syscall
    test rax, rax
    js unreaped
    mov eax, [rsp]
unreaped:
    add rsp, 16
    ret

# lost(): a child that is no program yet
lost:
    push r12
    sub rsp, SIGINFO_BYTES
    mov rdx, [rbx+T_MAIN]
    mov r12, [rdx+CHILD]
    test r12, r12
    js nobody                       # it could not be made
    jz nobody
    mov rdi, r12
    mov esi, KILL
    mov eax, SYS_kill
    syscall
    mov edi, P_PID
    mov rsi, r12
    mov rdx, rsp
    mov r10d, WEXITED
    xor r8d, r8d
    mov eax, SYS_waitid
    syscall
nobody:
    add rsp, SIGINFO_BYTES
    pop r12
    jmp yes

# became(): the last call it reports was not refused, and execve comes next
became:
    mov rdx, [rbx+T_MAIN]
    mov r8, [rdx+LENGTH]
    mov rcx, r8
    imul rax, rcx, RECORD
    lea rsi, [rdx+rax+HEADER]
    imul rax, rcx, REPORT
    add rsi, rax
last:
    test rcx, rcx
    jz no
    dec rcx
    sub rsi, REPORT
    mov rax, [rsi+SPENT]
    test rax, rax
    jz last
    imul rax, rcx, RECORD
    lea rdi, [rdx+rax+HEADER]
    inc rcx
    cmp rcx, r8
    jae no
    mov rax, [rdi+RECORD]
    cmp rax, SYS_execve
    jne no
    mov rax, [rsi+ERRNO]
    test rax, rax
    jz yes
    mov rdx, [rdi+TOLERATED]
tolerable:
    test rdx, rdx
    jz no
    movzx ecx, dl
    shr rdx, 8
    cmp rax, rcx
    jne tolerable
    jmp yes

# follow(rdi: pidfd, rsi: signalfd): until the end of the first one
follow:
    push r12
    push r13
    sub rsp, 152                    # two of struct pollfd, struct signalfd_siginfo
    mov r12, rdi
    mov r13, rsi
    mov [rsp], r12d
    mov dword ptr [rsp+4], 1        # POLLIN
    mov [rsp+8], r13d
    mov dword ptr [rsp+12], 1
waiting:
    mov rdi, rsp
    mov esi, 2
    mov rdx, -1
    mov eax, SYS_poll
    syscall
    test rax, rax
    js waiting
    movzx eax, byte ptr [rsp+6]
    test eax, eax
    jnz ended
    mov rdi, r13
    lea rsi, [rsp+16]               # whose first word is the number
    mov edx, 128
    mov eax, SYS_read
    syscall
    test rax, rax
    js waiting
    mov rdi, r12
    mov esi, [rsp+16]
    xor edx, edx
    xor r10d, r10d
    mov eax, SYS_pidfd_send_signal
    syscall
    jmp waiting
ended:
    add rsp, 152
    pop r13
    pop r12
    jmp yes

# end(rdi: siginfo): our own, as shells say it
end:
    mov rdx, rdi
    mov edi, [rdx+SI_STATUS]
    cmp dword ptr [rdx+SI_CODE], CLD_EXITED
    je exit
    add edi, 128
    jmp exit

# by_python(rdi: two records, the second of them execve, rsi: arguments, whose first five are
# missing, rdx: clone_args): to its end, whatever that is
by_python:
    mov rax, [rbp+A_PYTHON]
    mov [rdi+RECORD+8], rax
    mov [rdi+RECORD+16], rsi
    mov rax, [rbp]
    lea rax, [rbp+rax*8+16]
    mov [rdi+RECORD+24], rax
    xor ecx, ecx
argument:
    mov rax, [rbp+rcx*8+A_PYTHON]
    mov [rsi+rcx*8], rax
    inc rcx
    cmp ecx, 5
    jne argument
    mov esi, 2
    call launch
    test rax, rax
    jnz no
    jmp reaped
