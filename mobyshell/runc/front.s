# What executes a ticket (`tickets`): an exec of which everything is known, without Python, on x86-64
# Linux. It is assembled behind stub.s, whose `run` and `spawn` it uses, and before pid_file.s.
#
# Called as FRONT TICKET DETACHED PROCESS PIDFILE TEMPORARY PYTHON ARGUMENTS… WORDS…, where the four
# behind the ticket may be empty: whatever is not as the ticket says, and whatever fails before the
# program runs, is PYTHON's, with all that follows it.
#
# The ticket is a private file of ours with absolute addresses, which lies at TICKET. Its first
# program looks at the world and leaves what it saw beside what must be seen; the second, walked by
# a child like vfork's, gathers what the launcher wants, and becomes the launcher.

.set TICKET_HIGH, 0x200 # the upper half of where it lies
.set TICKET_COOKIE, 0x326b6374 # "tck2"; another one for another form
.set T_BYTES, 8
.set T_COUNT, 16        # the words of the process, which are the last of ours
.set T_WORDS, 24
.set T_WORDS_BYTES, 32
.set T_LOOK, 40         # what looks: records, and how many
.set T_LOOKS, 48
.set T_SAME, 56         # pairs of addresses with a length, until a zero
.set T_STAT, 64         # the end of the /proc/PID/stat of the init
.set T_SINCE, 72        # its field 22, and the bytes of that
.set T_SINCE_BYTES, 80
.set T_LAUNCH, 88       # what the child does
.set T_LAUNCHES, 96
.set T_MAIN, 104        # where the process's own program lies
.set T_SIGNALS, 112     # those that are the program's
.set T_CLONE_ARGS, 128
.set T_PROCESS, 216     # where the description of the process goes, and its bytes
.set T_PROCESS_BYTES, 224
.set T_COMPLAINT, 232   # about the pid file, and its bytes
.set T_COMPLAINT_BYTES, 240
.set T_UID, 248         # whose the streams are

.set A_TICKET, 16       # arguments, from where argc is
.set A_DETACHED, 24
.set A_PROCESS, 32
.set A_PID_FILE, 40
.set A_TEMPORARY, 48
.set A_PYTHON, 56

.set SYS_read, 0
.set SYS_write, 1
.set SYS_close, 3
.set SYS_fstat, 5
.set SYS_poll, 7
.set SYS_execve, 59
.set SYS_wait4, 61
.set SYS_geteuid, 107
.set SYS_waitid, 247
.set SYS_openat, 257
.set SYS_signalfd4, 289
.set SYS_pidfd_send_signal, 424
.set SYS_pidfd_open, 434

.set AT_FDCWD, -100
.set HOW, 0xa0800       # O_RDONLY|O_NONBLOCK|O_NOFOLLOW|O_CLOEXEC
.set HOW_PROCESS, 0x80900 # O_RDONLY|O_NONBLOCK|O_NOCTTY|O_CLOEXEC
.set MAP_PRIVATE_FIXED_NOREPLACE_POPULATE, 0x108002
.set ST_MODE, 24
.set ST_UID, 28
.set ST_RDEV, 40
.set ST_SIZE, 48
.set NULL_DEVICE, 0x103 # 1:3
.set PRIVATE_FILE, 0x8180 # S_IFREG, 0600
.set SIGCHLD, 17
.set SINCE_WORD, 20     # of field 22, behind the name in brackets
.set ROOM, 256          # on the stack
.set OLD_MASK, 248

#   rbx ticket   rbp argc, argv, 0, envp   r12 pidfd   r13 signals   r14 pid   r15 whether these are blocked
front:
    mov rbp, rsp
    sub rsp, ROOM
    xor r15d, r15d
    mov rdi, AT_FDCWD
    mov rsi, [rbp+A_TICKET]
    mov edx, HOW
    xor r10d, r10d
    mov eax, SYS_openat
    syscall
    test rax, rax
    js python
    mov r12, rax
    mov rdi, rax
    mov rsi, rsp
    mov eax, SYS_fstat
    syscall
    test rax, rax
    jnz python
    cmp dword ptr [rsp+ST_MODE], PRIVATE_FILE
    jne python
    mov eax, SYS_geteuid
    syscall
    cmp eax, [rsp+ST_UID]
    jne python
    mov ebx, TICKET_HIGH
    shl rbx, 32
    mov rdi, rbx
    mov rsi, [rsp+ST_SIZE]
    mov edx, PROT_READ_WRITE
    mov r10d, MAP_PRIVATE_FIXED_NOREPLACE_POPULATE
    mov r8, r12
    xor r9d, r9d
    mov eax, SYS_mmap
    syscall
    cmp rax, rbx
    jne python
    mov rdi, r12
    mov eax, SYS_close
    syscall
    mov rax, [rsp+ST_SIZE]
    cmp rax, [rbx+T_BYTES]
    jne python
    cmp dword ptr [rbx], TICKET_COOKIE
    jne python

# The words: they lie one behind the other, each with its zero, so all are compared at once.
    mov rax, [rbp]
    sub rax, [rbx+T_COUNT]
    jb python
    mov rsi, [rbp+rax*8+8]
    mov rdi, [rbx+T_WORDS]
    mov rcx, [rbx+T_WORDS_BYTES]
    cmp rcx, rcx                    # none are the same as none
    repe cmpsb
    jne python

# Or what describes the process instead: into the ticket, where it is compared with the rest.
    mov rdi, [rbp+A_PROCESS]
    movzx eax, byte ptr [rdi]
    test eax, eax
    jz look
    mov rsi, rdi
    mov rdi, AT_FDCWD
    mov edx, HOW_PROCESS
    xor r10d, r10d
    mov eax, SYS_openat
    syscall
    test rax, rax
    js python
    mov r12, rax
    mov rdi, rax
    mov rsi, rsp
    mov eax, SYS_fstat
    syscall
    test rax, rax
    jnz python
    mov eax, [rsp+ST_MODE]
    and eax, 0xf000                 # what would be read only once is Python's
    cmp eax, 0x8000
    jne python
    mov rdx, [rbx+T_PROCESS_BYTES]
    cmp rdx, [rsp+ST_SIZE]
    jne python
    mov rdi, r12
    mov rsi, [rbx+T_PROCESS]
    mov eax, SYS_read
    syscall
    cmp rax, [rbx+T_PROCESS_BYTES]
    jne python
    mov rdi, r12
    mov eax, SYS_close
    syscall

# The streams are the user's, or /dev/null, which is everybody's.
look:
    xor r12d, r12d
stream:
    mov rdi, r12
    mov rsi, rsp
    mov eax, SYS_fstat
    syscall
    test rax, rax
    jnz python
    mov rax, [rsp+ST_RDEV]
    cmp rax, NULL_DEVICE
    je harmless
    mov eax, [rsp+ST_UID]
    cmp eax, [rbx+T_UID]
    jne python
harmless:
    inc r12d
    cmp r12d, 3
    jne stream

# The world.
    mov rdi, [rbx+T_LOOK]
    mov rsi, [rbx+T_LOOKS]
    xor edx, edx
    call run
    test rax, rax
    jns python
    mov rdx, [rbx+T_SAME]
compare:
    mov rdi, [rdx]
    mov rsi, [rdx+8]
    mov rcx, [rdx+16]
    add rdx, 24
    test rdi, rdi
    jz since
    repe cmpsb
    je compare
    jmp python
since:                              # the name may have spaces and brackets in it: from the last of these
    mov rsi, [rbx+T_STAT]
bracket:
    dec rsi
    movzx eax, byte ptr [rsi]
    cmp eax, 41                     # ")", of which there is one before, too
    jne bracket
    mov edx, SINCE_WORD
space:
    inc rsi
    movzx eax, byte ptr [rsi]
    cmp eax, 32                     # " ", with which all is filled
    jne space
    dec edx
    jnz space
    inc rsi
    mov rdi, [rbx+T_SINCE]
    mov rcx, [rbx+T_SINCE_BYTES]
    repe cmpsb
    jne python

# Signals that mean the program wait until it is there. That of children tells nothing if it is ignored.
    xor edi, edi                    # SIG_BLOCK
    lea rsi, [rbx+T_SIGNALS]
    lea rdx, [rsp+OLD_MASK]
    mov r10d, 8
    mov eax, SYS_rt_sigprocmask
    syscall
    inc r15d
    xor eax, eax
    mov [rsp], rax
    mov [rsp+8], rax
    mov [rsp+16], rax
    mov [rsp+24], rax
    mov edi, SIGCHLD
    mov rsi, rsp
    xor edx, edx
    mov r10d, 8
    mov eax, SYS_rt_sigaction
    syscall
    mov rdi, -1
    lea rsi, [rbx+T_SIGNALS]
    mov edx, 8
    mov r10d, 0x80000               # SFD_CLOEXEC
    mov eax, SYS_signalfd4
    syscall
    test rax, rax
    js python
    mov r13, rax

# The launcher. It ends when the child it made has executed its program, or is dead.
    lea rdi, [rbx+T_CLONE_ARGS]
    mov esi, CLONE_ARGS_SIZE
    mov rdx, [rbx+T_LAUNCH]
    mov rcx, [rbx+T_LAUNCHES]
    xor r8d, r8d
    call spawn
    test rax, rax
    js python
    mov rdi, rax
    mov rsi, rsp
    xor edx, edx
    xor r10d, r10d
    mov eax, SYS_wait4
    syscall
    mov rax, [rsp]                  # 0: it did all that it had to
    test eax, eax
    jnz python
    mov rdx, [rbx+T_MAIN]
    mov r14, [rdx+CHILD]
    test r14, r14
    js python
    jz python
    mov rdi, r14
    xor esi, esi
    mov eax, SYS_pidfd_open
    syscall
    test rax, rax
    js lost
    mov r12, rax

# It has executed its program if the last call it reports was not refused, and execve comes next.
    mov rdx, [rbx+T_MAIN]
    mov r8, [rdx+LENGTH]
    mov rcx, r8
    imul rax, rcx, RECORD
    lea rsi, [rdx+rax+HEADER]
    imul rax, rcx, REPORT
    add rsi, rax
last:
    test rcx, rcx
    jz dead
    dec rcx
    sub rsi, REPORT
    mov rax, [rsi+SPENT]
    test rax, rax
    jz last
    imul rax, rcx, RECORD
    lea rdi, [rdx+rax+HEADER]
    inc rcx
    cmp rcx, r8
    jae dead
    mov rax, [rdi+RECORD]
    cmp rax, SYS_execve
    jne dead
    mov rax, [rsi+ERRNO]
    test rax, rax
    jz runs
    mov rdx, [rdi+TOLERATED]
tolerable:
    test rdx, rdx
    jz dead
    movzx ecx, dl
    shr rdx, 8
    cmp rax, rcx
    jne tolerable

runs:
    mov rdx, [rbp+A_PID_FILE]
    movzx eax, byte ptr [rdx]
    test eax, eax
    jz written
    mov rdi, r14
    mov rsi, [rbp+A_TEMPORARY]
    call write_pid
    test rax, rax
    jnz unknown
written:
    mov rdi, [rbp+A_DETACHED]
    movzx eax, byte ptr [rdi]
    xor edi, edi
    test eax, eax
    jnz exit                        # detached
    mov [rsp], r12d                 # two of struct pollfd, for POLLIN
    mov dword ptr [rsp+4], 1
    mov [rsp+8], r13d
    mov dword ptr [rsp+12], 1
follow:
    mov rdi, rsp
    mov esi, 2
    mov rdx, -1
    mov eax, SYS_poll
    syscall
    test rax, rax
    js follow
    movzx eax, byte ptr [rsp+6]
    test eax, eax
    jnz ended
    mov rdi, r13
    lea rsi, [rsp+16]               # struct signalfd_siginfo, whose first word is the number
    mov edx, 128
    mov eax, SYS_read
    syscall
    test rax, rax
    js follow
    mov rdi, r12
    mov esi, [rsp+16]
    xor edx, edx
    xor r10d, r10d
    mov eax, SYS_pidfd_send_signal
    syscall
    jmp follow
ended:
    mov edi, 3                      # P_PIDFD
    mov rsi, r12
    call reap
    mov edi, [rsp+24]               # si_status
    cmp dword ptr [rsp+8], 1        # si_code is CLD_EXITED
    je exit
    add edi, 128
    jmp exit

unknown:                            # whoever wants to know the pid cannot
    mov rdi, r12
    mov esi, 9
    xor edx, edx
    xor r10d, r10d
    mov eax, SYS_pidfd_send_signal
    syscall
    mov edi, 3
    mov rsi, r12
    call reap
    mov edi, 2
    mov rsi, [rbx+T_COMPLAINT]
    mov rdx, [rbx+T_COMPLAINT_BYTES]
    mov eax, SYS_write
    syscall
    mov edi, 255
    jmp exit

dead:
    mov edi, 3
    mov rsi, r12
    call reap
    jmp python
lost:
    mov edi, 1                      # P_PID
    mov rsi, r14
    call reap

python:
    test r15d, r15d
    jz begin
    mov edi, 2                      # SIG_SETMASK
    lea rsi, [rsp+OLD_MASK]
    xor edx, edx
    mov r10d, 8
    mov eax, SYS_rt_sigprocmask
    syscall
begin:
    mov rdi, [rbp+A_PYTHON]
    lea rsi, [rbp+A_PYTHON]
    mov rdx, [rbp]
    lea rdx, [rbp+rdx*8+16]
    mov eax, SYS_execve
    syscall
    mov edi, 127
    jmp exit

# reap(rdi: kind, rsi: whom): into the caller's room
reap:
    lea rdx, [rsp+8]
    mov r10d, 4                     # WEXITED
    xor r8d, r8d
    mov eax, SYS_waitid
    syscall
    ret
