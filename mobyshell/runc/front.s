# What executes a ticket (`tickets`): a call of which everything is known, without Python, on x86-64
# Linux. It is assembled behind stub.s, whose `run` and `spawn` it uses, and before the other .s here,
# which have the routines of its steps.
#
# Called as FRONT TICKET DETACHED GIVEN PIDFILE TEMPORARY ID PYTHON ARGUMENTS… WORDS…, where those
# between the ticket and PYTHON may be empty: whatever is not as the ticket says, and whatever fails
# before a program runs, is PYTHON's, with all that follows it.
#
# The ticket is a private file of ours with absolute addresses, which lies at TICKET. It is a list of
# steps; each is done by a routine, and says with which step to go on if that fails.

.set TICKET_HIGH, 0x200 # the upper half of where it lies
.set TICKET_COOKIE, 0x336b6374 # "tck3"; another one for another form
.set T_BYTES, 8
.set T_STEPS, 16        # the first step
.set T_MAIN, 24         # where the program of a new process lies
.set T_SPAWNED, 32      # the last process that a step has made
.set T_MASK, 40         # the signals that were blocked when we began

.set STEP, 40           # a step: what, three arguments, the step to go on with if it fails, or 0
.set STEP_OTHERWISE, 32

.set DO_RUN, 1          # records, how many: walk them
.set DO_SAME, 2         # table: all is the same
.set DO_MATCH, 3        # value, value: are the same
.set DO_GIVEN, 4        # argument: is not empty
.set DO_IS, 5           # argument, text: is that
.set DO_WORDS, 6        # how many, texts, their bytes: are the last arguments
.set DO_DESCRIBED, 7    # argument, room, bytes: a file of so many bytes, read
.set DO_FILE, 8         # path, room, bytes: likewise
.set DO_CONTENT, 9      # path, value, bytes: a file of any size up to that
.set DO_LINES, 10       # value, value: only the lines with the other one in them
.set DO_STREAMS, 11     # uid: ours are that user's, or /dev/null
.set DO_SINCE, 12       # end of a /proc/PID/stat, value: its field 22
.set DO_TEXT, 13        # argument, value, bytes: at most so many
.set DO_FILL, 14        # table: texts put together
.set DO_NUMBER, 15      # address, value: the digits of what is there
.set DO_CLOCK, 16       # value: nanoseconds, as time() has seconds
.set DO_COPY, 17        # address, address: eight bytes
.set DO_SPAWN, 18       # records, how many, clone_args: a process that walks them
.set DO_REAPED, 19      # it has ended, and well
.set DO_BECAME, 20      # the child of the launcher has executed its program
.set DO_LOST, 21        # kill and reap that child, if there is one
.set DO_FOLLOW, 22      # pidfd, signalfd: pass on signals until it ends
.set DO_END, 23         # siginfo: end as it did
.set DO_EXIT, 24        # status
.set DO_PID_FILE, 25    # value: write the pid file, if one is asked for
.set DO_REMOVED, 26     # path: a cgroup, as soon as it is not busy
.set DO_EMPTIED, 27     # path: a directory with its files
.set DO_PYTHON, 28      # records, arguments, clone_args: Python does something else for us

.set A_TICKET, 16       # arguments, from where argc is
.set A_PID_FILE, 40
.set A_TEMPORARY, 48
.set A_PYTHON, 64

.set SYS_read, 0
.set SYS_write, 1
.set SYS_close, 3
.set SYS_fstat, 5
.set SYS_execve, 59
.set SYS_wait4, 61
.set SYS_geteuid, 107
.set SYS_waitid, 247
.set SYS_openat, 257

.set AT_FDCWD, -100
.set HOW, 0xa0800       # O_RDONLY|O_NONBLOCK|O_NOFOLLOW|O_CLOEXEC
.set MAP_PRIVATE_FIXED_NOREPLACE_POPULATE, 0x108002
.set ST_NLINK, 16
.set ST_MODE, 24
.set ST_UID, 28
.set ST_RDEV, 40
.set ST_SIZE, 48
.set STAT_BYTES, 144
.set PRIVATE_FILE, 0x8180 # S_IFREG, 0600

#   rbx ticket, or 0   rbp argc, argv, 0, envp   r12 step
front:
    mov rbp, rsp
    sub rsp, STAT_BYTES
    xor ebx, ebx
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
    mov r13d, TICKET_HIGH
    shl r13, 32
    mov rdi, r13
    mov rsi, [rsp+ST_SIZE]
    mov edx, PROT_READ_WRITE
    mov r10d, MAP_PRIVATE_FIXED_NOREPLACE_POPULATE
    mov r8, r12
    xor r9d, r9d
    mov eax, SYS_mmap
    syscall
    cmp rax, r13
    jne python
    mov rdi, r12
    mov eax, SYS_close
    syscall
    mov rax, [rsp+ST_SIZE]
    cmp rax, [r13+T_BYTES]
    jne python
    cmp dword ptr [r13], TICKET_COOKIE
    jne python
    mov rbx, r13
    xor esi, esi
    lea rdx, [rbx+T_MASK]
    call mask
    mov r12, [rbx+T_STEPS]

step:
    mov eax, [r12]
    mov rdi, [r12+8]
    mov rsi, [r12+16]
    mov rdx, [r12+24]
    call choose
    test rax, rax
    jnz otherwise
    add r12, STEP
    jmp step
otherwise:
    mov r12, [r12+STEP_OTHERWISE]
    test r12, r12
    jnz step

python:
    test rbx, rbx
    jz begin
    lea rsi, [rbx+T_MASK]
    xor edx, edx
    call mask
begin:
    mov rdi, [rbp+A_PYTHON]
    lea rsi, [rbp+A_PYTHON]
    mov rdx, [rbp]
    lea rdx, [rbp+rdx*8+16]
    mov eax, SYS_execve
    syscall
    mov edi, 127
    jmp exit

# choose(eax: what, rdi, rsi, rdx: arguments) -> 0 if that is so, or done. The routines keep what
# `run` does, and rbx, rbp and r12 are as above.
choose:
    cmp eax, DO_RUN
    je walk
    cmp eax, DO_SAME
    je same
    cmp eax, DO_MATCH
    je match
    cmp eax, DO_GIVEN
    je given
    cmp eax, DO_IS
    je is
    cmp eax, DO_WORDS
    je words
    cmp eax, DO_DESCRIBED
    je described
    cmp eax, DO_FILE
    je file
    cmp eax, DO_CONTENT
    je content
    cmp eax, DO_LINES
    je lines
    cmp eax, DO_STREAMS
    je streams
    cmp eax, DO_SINCE
    je since
    cmp eax, DO_TEXT
    je text
    cmp eax, DO_FILL
    je fill
    cmp eax, DO_NUMBER
    je number
    cmp eax, DO_CLOCK
    je clock
    cmp eax, DO_COPY
    je copy
    cmp eax, DO_SPAWN
    je launch
    cmp eax, DO_REAPED
    je reaped
    cmp eax, DO_BECAME
    je became
    cmp eax, DO_LOST
    je lost
    cmp eax, DO_FOLLOW
    je follow
    cmp eax, DO_END
    je end
    cmp eax, DO_EXIT
    je exit
    cmp eax, DO_PID_FILE
    je pid_file
    cmp eax, DO_REMOVED
    je removed
    cmp eax, DO_EMPTIED
    je emptied
    cmp eax, DO_PYTHON
    je by_python
no:                                 # what ends every routine
    mov eax, 1
    ret
yes:
    xor eax, eax
    ret

walk:
    xor edx, edx
    call run
    inc rax                         # it was -1 if all of it was done
    ret
