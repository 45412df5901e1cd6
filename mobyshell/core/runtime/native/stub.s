# What runs a program (core/runtime/program.py) without Python, on x86-64 Linux.
#
# Three entries, position independent, no data, no stack but the caller's:
#   spawn   makes a process that walks a program
#   run     walks a program
#   start   the launcher: the entry of the executable that `image` makes of these bytes
#
# A launcher becomes what its program says, or an usher, which makes children as it is told.
#
# `make native` assembles it into code.py; the tests let GNU as do the same.

.set RECORD, 80
.set REPORT, 24
.set NUMBER, 0          # a record: number, six arguments, control, tolerated, expected
.set CONTROL, 56
.set TOLERATED, 64
.set EXPECTED, 72
.set RESULT, 0          # a report: result, errno, nanoseconds
.set ERRNO, 8
.set SPENT, 16

.set HEADER, 256        # the header before the records
.set MAGIC, 0
.set BASE, 8            # where the mapping must lie
.set BYTES, 16
.set LENGTH, 24         # in records
.set CLOCK, 32          # of clock_gettime in the vdso; 0 if unknown
.set BEFORE, 40         # base and bytes of the program that is to be walked first
.set BEFORE_BYTES, 48
.set BEHIND, 56         # the child is to be made by us, beside us; or we are an usher
.set CHILD, 64          # its pid, or -errno
.set NAME, 80
.set CLONE_ARGS, 128
.set CLONE_STACK, 168   # its stack, and the bytes of that

.set SYS_mmap, 9
.set SYS_munmap, 11
.set SYS_rt_sigaction, 13
.set SYS_rt_sigprocmask, 14
.set SYS_recvmsg, 47
.set SYS_prctl, 157
.set SYS_exit_group, 231
.set SYS_clone3, 435
.set SYS_close_range, 436
.set CLONE_ARGS_SIZE, 88
.set USHER, 2
.set LINE, 5            # where an usher's orders come from
.set GIVEN, 4           # the last of the descriptors that come with one, as they come from 0 on
.set ORDER, 16          # bytes: where a program lies, and how long it is; 0 if it is there already
.set CHILD_STACK_BELOW, 16384 # our own stack, far enough
.set CHILD_STACK, 8192
.set BESIDE, 40         # bytes of a struct cmsghdr with all of them
.set PROT_READ_WRITE, 3
.set MAP_SHARED_FIXED_NOREPLACE_POPULATE, 0x108001
.set LOW, 0x10000       # where the header is read before it says where it belongs
.set PAGE, 4096
.set COOKIE, 0x79626f6d # "moby": the magic, so that a foreign descriptor 3 is refused
.set FAILED, 255
.set ABOVE_SIGQUIT, 4
.set SIGTERM, 15
.set SIGNALLED, 128     # and the signal: the status of who was ended by one
.set SA_RESTORER, 0x4000000
.set AT_SYSINFO_EHDR, 33

# spawn(rdi: clone_args, rsi: their size, rdx: records, rcx: length, r8: clock) -> pid or -errno
# No signal reaches the child, or us while we share memory with it. The child never returns.
spawn:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    sub rsp, 16                     # a full mask, and the one that was
    mov rbx, rdi
    mov rbp, rsi
    mov r12, rdx
    mov r13, rcx
    mov r14, r8
    mov rax, -1
    mov [rsp], rax
    mov rsi, rsp
    lea rdx, [rsp+8]
    call mask
    mov rdi, rbx
    mov rsi, rbp
    mov eax, SYS_clone3
    syscall
    test rax, rax
    jz spawned
    mov rbx, rax
    lea rsi, [rsp+8]
    xor edx, edx
    call mask
    mov rax, rbx
    add rsp, 16
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
spawned:
    mov rdi, r12
    mov rsi, r13
    mov rdx, r14
    call run
    mov edi, FAILED
    mov eax, SYS_exit_group
    syscall

# mask(rsi: the new one, rdx: where the old one goes)
mask:
    mov edi, 2                      # SIG_SETMASK
    mov r10d, 8
    mov eax, SYS_rt_sigprocmask
    syscall
    ret

# run(rdi: records, rsi: length, rdx: clock_gettime or 0) -> index of the record that failed, or -1
#   rbx record   r12 its report   r13 the first report   rbp cells   r14 nanoseconds   r15 clock
run:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    sub rsp, 24
    mov rbx, rdi
    mov r15, rdx
    imul rax, rsi, RECORD
    lea r13, [rdi+rax]
    mov r12, r13
    imul rax, rsi, REPORT
    lea rbp, [r13+rax]
    xor r14d, r14d
    call now
    mov r14, rax
next:
    cmp rbx, r13
    jae finished
    mov rcx, [rbx+CONTROL]
    mov rdi, [rbx+8]
    mov rsi, [rbx+16]
    mov rdx, [rbx+24]
    mov r10, [rbx+32]
    mov r8, [rbx+40]
    mov r9, [rbx+48]
    test cl, 63                     # arguments that are cells
    jz ready
    test cl, 1
    jz second
    mov rdi, [rbp+rdi*8]
second:
    test cl, 2
    jz third
    mov rsi, [rbp+rsi*8]
third:
    test cl, 4
    jz fourth
    mov rdx, [rbp+rdx*8]
fourth:
    test cl, 8
    jz fifth
    mov r10, [rbp+r10*8]
fifth:
    test cl, 16
    jz sixth
    mov r8, [rbp+r8*8]
sixth:
    test cl, 32
    jz ready
    mov r9, [rbp+r9*8]
ready:
    mov rax, [rbx+NUMBER]
    cmp rax, -1
    je store
    syscall
    mov [rsp], rax
    call now
    mov rdx, rax
    sub rdx, r14                    # the clock is read once for the end of one and the begin of the next
    mov r14, rax
    jnz measured
    inc rdx                         # 0 means that it did not run
measured:
    mov rax, [rsp]
    mov rcx, [rbx+CONTROL]
    cmp rax, -4095
    jae refused
    mov [r12+RESULT], rax
    mov [r12+SPENT], rdx
    test cl, 64                     # has a result cell
    jz unkept
    mov rdx, rcx
    shr rdx, 40
    movzx edi, dl
    shr rdx, 8
    movzx edx, dl
    shl edx, 8
    or edx, edi
    mov [rbp+rdx*8], rax
unkept:
    test cl, 128                    # has an expected result
    jz expected
    cmp rax, [rbx+EXPECTED]
    jne failed
expected:
    shr rcx, 24
    jmp skip
refused:
    neg rax
    mov rdi, -1
    mov [r12+RESULT], rdi
    mov [r12+ERRNO], rax
    mov [r12+SPENT], rdx
    shr rcx, 8
    mov rdx, [rbx+TOLERATED]
tolerate:
    test rdx, rdx
    jz failed
    movzx edi, dl
    shr rdx, 8
    cmp rax, rdi
    jne tolerate
skip:                               # by the lower 16 bits of rcx
    mov edx, ecx
    and edx, 0xffff
    inc rdx
    imul rax, rdx, RECORD
    add rbx, rax
    imul rax, rdx, REPORT
    add r12, rax
    jmp next
store:                              # rdi: address, rsi: width, rdx: value
    cmp esi, 4
    je half
    mov [rdi], rdx
    jmp stored
half:
    mov [rdi], edx
stored:
    mov rdx, 1
    mov [r12+SPENT], rdx
    add rbx, RECORD
    add r12, REPORT
    jmp next
failed:
    mov rax, r12
    sub rax, r13
    xor edx, edx
index:                              # reports are few: no division needed
    test rax, rax
    jz indexed
    sub rax, REPORT
    inc rdx
    jmp index
indexed:
    mov rax, rdx
    jmp leave
finished:
    mov rax, -1
leave:
    add rsp, 24
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

# now() -> nanoseconds; without a clock one more than the last
now:
    test r15, r15
    jz timeless
    sub rsp, 24
    mov edi, 1                      # CLOCK_MONOTONIC
    mov rsi, rsp
    call r15
    imul rax, [rsp], 1000000000
    add rax, [rsp+8]
    add rsp, 24
    ret
timeless:
    lea rax, [r14+1]
    ret

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
