# The keeper's children, and waiting for them: what `keeper.s` does all its life.

# fork_shim() -> rax: negative if there is none
fork_shim:
    call now                        # also of one that cannot be made
    mov [rbx+BORN], rax
    mov edi, AF_UNIX
    mov esi, SEQPACKET_CLOEXEC
    xor edx, edx
    lea r10, [rbx+PAIR]
    mov eax, SYS_socketpair
    syscall
    test rax, rax
    js unmade
    mov eax, SYS_fork
    syscall
    test rax, rax
    jz become_shim
    mov r13, rax
    mov edi, [rbx+PAIR+4]
    call close
    mov edi, [rbx+PAIR]
    test r13, r13
    js unforked
    mov [rbx+LINE], rdi
    mov [rbx+SHIM], r13
    mov rax, r13
unmade:
    ret
unforked:
    call close
    mov rax, r13
    ret

become_shim:                        # what is held stays open, as none of it is to be closed by execve
    lea rsi, [rip+none]
    call mask
    mov edi, [rbx+PAIR+4]
    mov esi, LINE_FD
    mov eax, SYS_dup2
    syscall
    call write_ledger
    test rax, rax
    js failed
    mov rsi, [rbx+COMMAND]
    mov rdi, [rsi]
    mov rdx, [rbx+ENVIRONMENT]
    mov eax, SYS_execve
    syscall
    jmp failed

# listen(r12: until when): take what the shim says until a child ends, or the time is over (-1: never).
# Nothing of it is urgent, and what was sent is safe: so it waits a moment, in which the shim and its
# tasks have the processors for themselves, and more may come. A signal ends that.
listen:
    mov rdx, r12
    cmp r12, -1
    je wait
    call now
    xor edx, edx
    cmp rax, r12
    jae wait
    mov rdx, r12
    sub rdx, rax
wait:
    mov esi, 2
    call poll
    test rax, rax
    jz over                         # the time is
    js listen
    movzx eax, byte ptr [rbx+POLLED+6]
    test eax, eax
    jnz alarmed
    mov edx, MOMENT
    mov esi, 1
    call poll
    call hear_all
    jmp timely
alarmed:
    call knocked
    call hear_all
    cmp r12, -1
    je over
    call reap                       # no shim is among them
timely:
    cmp r12, -1
    je listen
    call now
    cmp rax, r12
    jb listen
over:
    ret

# poll(rsi: 1 for the alarm, 2 for the line too, rdx: how long) -> rax
poll:
    mov rax, [rbx+ALARM]
    mov [rbx+POLLED], eax
    mov dword ptr [rbx+POLLED+4], POLLIN
    mov rax, [rbx+LINE]
    mov [rbx+POLLED+8], eax
    mov dword ptr [rbx+POLLED+12], POLLIN
    lea rdi, [rbx+POLLED]
    mov eax, SYS_poll
    syscall
    ret

# knocked(): let the alarm be silent; who knocked is told where we are
knocked:
    mov rdi, [rbx+ALARM]
    lea rsi, [rbx+ENDED]
    mov edx, SIGINFO_BYTES
    mov eax, SYS_read
    syscall
    test rax, rax
    js silent
    cmp dword ptr [rbx+ENDED], KNOCK
    jne knocked
    mov edi, 2
    lea rsi, [rip+where]
    lea rdx, [rip+end_of_where]
    sub rdx, rsi
    mov eax, SYS_write
    syscall
    jmp knocked
silent:
    ret

# reap() -> rax: bury every dead child; the shim's exit status if it was among them, else -1
reap:
    push r13
    mov r13, -1
buried:
    mov qword ptr [rbx+ENDED+SI_PID], 0
    xor edi, edi
    xor esi, esi
    lea rdx, [rbx+ENDED]
    mov r10d, WEXITED_WNOHANG_WNOWAIT
    xor r8d, r8d
    mov eax, SYS_waitid
    syscall
    test rax, rax
    js reaped                       # no children
    mov edi, [rbx+ENDED+SI_PID]
    test edi, edi
    jz reaped                       # none that has ended
    cmp rdi, [rbx+SHIM]
    je shim_ended
    call write_down
    jmp bury
shim_ended:
    call ended_with
    mov r13, rax
    call hear_all                   # what it said before it died still counts
    call hang_up
    mov qword ptr [rbx+SHIM], 0
bury:
    mov edi, [rbx+ENDED+SI_PID]
    lea rsi, [rbx+STATUS]
    xor edx, edx
    xor r10d, r10d
    mov eax, SYS_wait4
    syscall
    jmp buried
reaped:
    mov rax, r13
    pop r13
    ret

# ended_with() -> rax: the status of who is in ENDED, 128+n for signal n
ended_with:
    mov eax, [rbx+ENDED+SI_STATUS]
    cmp dword ptr [rbx+ENDED+SI_CODE], CLD_EXITED
    je exited
    add eax, 128
exited:
    ret

# write_down(rdi: pid): how it ended, if somebody wants to know: `STATUS TIME_NS`, by rename
write_down:
    push r12
    push r13
    call watched
    test rax, rax
    jz unwanted
    mov r12, rax
    lea rsi, [r12+RECORD_TEXT]
    call length
    cmp rdx, LONGEST_PATH
    ja forget_it
    lea rdi, [rbx+FINAL]
    lea rsi, [r12+RECORD_TEXT]
    call copy
    lea rsi, [rip+exit_name]
    call copy
    lea rdi, [rbx+TEMPORARY]
    lea rsi, [rbx+FINAL]
    call copy
    lea rsi, [rip+new_name]
    call copy
    call ended_with
    lea rdi, [rbx+TEXT]
    call digits
    mov byte ptr [rdi], 32          # a space
    inc rdi
    push rdi
    mov edi, CLOCK_REALTIME
    lea rsi, [rbx+CLOCK]
    mov eax, SYS_clock_gettime
    syscall
    pop rdi
    mov rax, [rbx+CLOCK]
    imul rax, rax, 1000000000
    add rax, [rbx+CLOCK+8]
    call digits
    lea rsi, [rbx+TEXT]
    sub rdi, rsi
    push rdi
    lea rdi, [rbx+TEMPORARY]
    mov esi, WRITE_CREATE_TRUNCATE_CLOEXEC
    mov edx, MODE
    mov eax, SYS_open
    syscall
    pop rdx
    test rax, rax
    js forget_it                    # the task was deleted meanwhile
    mov r13, rax
    mov rdi, rax
    lea rsi, [rbx+TEXT]
    mov eax, SYS_write
    syscall
    mov rdi, r13
    mov r13, rax
    sub r13, rdx                    # 0 if that is there
    call close
    lea rdi, [rbx+TEMPORARY]
    lea rsi, [rbx+FINAL]
    mov eax, SYS_rename
    test r13, r13
    jz put
    mov eax, SYS_unlink
put:
    syscall
forget_it:
    mov rax, r12
    call remove
unwanted:
    pop r13
    pop r12
    ret

exit_name:
    .asciz "/exit"
new_name:
    .asciz ".new"
where:
    .ascii "  File \"keeper_children.s\", line 55 in listen\n"
    .ascii "  File \"keeper.s\", line 185 in run\n"
end_of_where:
