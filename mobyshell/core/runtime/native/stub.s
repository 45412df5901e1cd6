# What runs a program (core/runtime/program.py) without Python, on x86-64 Linux.
#
# Three entries, position independent, no data, no stack but the caller's:
#   spawn   makes a process that walks a program
#   run     walks a program
#   start   the launcher (launcher.s): the entry of the executable that `image` makes of these bytes
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
