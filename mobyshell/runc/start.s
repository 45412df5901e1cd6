# start of a container by its record, for `verbs.s`: as quick_verbs.py does it.

.set POLLERR, 8
.set HOW_FIFO, 0x80801  # O_WRONLY|O_NONBLOCK|O_CLOEXEC
.set HOW_NEW, 0xa0241   # O_WRONLY|O_CREAT|O_TRUNC|O_NOFOLLOW|O_CLOEXEC

start_it:
    call config                     # hooks of other kinds have nothing to do here
    lea rdx, [rip+start_hooks_word]
    mov r8d, 16
    call configured
    test eax, eax
    jnz python
    lea rdx, [rip+poststart_word]
    mov r8d, 11
    call configured
    test eax, eax
    jnz python
    lea rdx, [rip+process_word]
    mov r8d, 9
    call configured
    test eax, eax
    jz python
    mov rsi, [rbx+M_STARTED]
    cmp byte ptr [rsi], 48          # "0"
    jne python
    call status                     # neither while it is made, nor frozen
    lea rax, [rip+created_word]
    cmp r14, rax
    jne python
    lea rsi, [rip+fifo_name]        # of several that start it, the one whose rename succeeds
    lea r10, [rip+claimed_name]
    call rename
    test rax, rax
    jnz python
    mov rdi, r12
    lea rsi, [rip+claimed_name]
    mov edx, HOW_FIFO
    xor r10d, r10d
    mov eax, SYS_openat
    syscall
    test rax, rax
    js give_back
    mov r15, rax
    mov rdi, rax
    lea rsi, [rip+one_word]
    mov edx, 1
    mov eax, SYS_write
    syscall
    cmp rax, 1
    jne python
    mov edi, r15d                   # a writing end reports an error when its last reader is gone: by
    mov esi, POLLERR                # execve, or by death
    call wait
    test rax, rax
    jz give_back
    mov rdi, r12
    lea rsi, [rip+claimed_name]
    xor edx, edx
    mov eax, SYS_unlinkat
    syscall
    call write_started
    jmp done
give_back:
    lea rsi, [rip+claimed_name]
    lea r10, [rip+fifo_name]
    call rename
    jmp python
start_hooks_word:
    .asciz "\"startContainer\""
poststart_word:
    .asciz "\"poststart\""
process_word:
    .asciz "\"process\""
creator_name:
    .asciz "creator"
claimed_name:
    .asciz "exec.fifo.claimed"

# rename(rsi: a name in the container's directory, r10: its next one) -> 0 or -errno
rename:
    mov rdi, r12
    mov rdx, r12
    mov eax, SYS_renameat
    syscall
    ret

# write_started(): the record with the time instead of the zero, under another name first
write_started:
    call clock
    lea rdi, [rbx+TEXT_ROOM]
    lea rsi, [rbx+RECORD_ROOM]
    mov rcx, [rbx+M_STARTED]
    sub rcx, rsi
    rep movsb
    xor ecx, ecx
    call decimal
    mov rsi, [rbx+M_STARTED+8]
    mov rcx, [rbx+RECORD_END]
    sub rcx, rsi
    rep movsb
    mov r14, rdi
    lea rdi, [rbx+NAME_ROOM]
    lea rsi, [rip+other_name]
    call copy
    call number_of_us
    mov rdi, r12
    lea rsi, [rbx+NAME_ROOM]
    mov edx, HOW_NEW
    mov r10d, 384                   # rw-------
    mov eax, SYS_openat
    syscall
    test rax, rax
    js python
    mov r15, rax
    mov rdi, rax
    lea rsi, [rbx+TEXT_ROOM]
    sub r14, rsi
    mov rdx, r14
    mov eax, SYS_write
    syscall
    sub r14, rax                    # what was not written
    mov rdi, r15
    mov eax, SYS_close
    syscall
    test r14, r14
    jnz unfinished
    lea rsi, [rbx+NAME_ROOM]
    lea r10, [rip+state_name]
    call rename
    test rax, rax
    jnz unfinished
    ret
unfinished:
    mov rdi, r12
    lea rsi, [rbx+NAME_ROOM]
    xor edx, edx
    mov eax, SYS_unlinkat
    syscall
    jmp python
other_name:
    .asciz ".state.json."

# number_of_us(rdi) -> rdi at the zero behind our pid
number_of_us:
    push rdi
    mov eax, SYS_getpid
    syscall
    pop rdi
    xor ecx, ecx
    call decimal
    mov byte ptr [rdi], 0
    ret

# clock() -> nanoseconds since the epoch
clock:
    xor edi, edi                    # CLOCK_REALTIME
    lea rsi, [rbx+SMALL]
    mov eax, SYS_clock_gettime
    syscall
    imul rax, [rbx+SMALL], 1000000000
    add rax, [rbx+SMALL+8]
    ret
