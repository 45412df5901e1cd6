# The keeper by machine code, on x86-64 Linux: what `keeper.py` is elsewhere, and why is said there. A
# Python process that waits has two and a half megabytes of its own; this has some pages.
#
# keep is the start of the program: LOCK SHIM COMMAND…, with descriptors as `keeping` says.
# It never ends but by `leave`, and fails at nothing that happens later than its start: what cannot be
# done (no descriptor, process or memory to be had) is a shim that died at once, tried again in a while.
# All is in one mapping, at rbx, which the kernel has zeroed. Times are milliseconds.
# Behind this come `keeper_children.s`, `keeper_words.s` and `keeper_ledger.s`. `make native` assembles them.

.set LEDGER_BYTES, 0    # so much is in the ledger
.set SHIM, 8            # its pid; 0 if there is none
.set BORN, 16           # when that was
.set DELAY, 24          # before the next one
.set LINE, 32           # to the shim; -1 if it has hung up
.set ALARM, 40          # a signalfd, for who ended and for knocks
.set LOCK_PATH, 48
.set COMMAND, 56        # the arguments and the environment of a shim
.set ENVIRONMENT, 64
.set HELD, 72           # the number of descriptors in the ledger
.set POLLED, 80         # two of struct pollfd
.set PAIR, 96           # two descriptors
.set CLOCK, 104         # a struct timespec
.set LIMITS, 120        # a struct rlimit, and the one to come
.set HEADER, 160        # a struct msghdr, and its struct iovec
.set VECTOR, 216
.set NEXT, 232          # where the next thing that was said begins
.set BESIDE, 240        # descriptors that came with it
.set ENDED, 320         # a siginfo_t; of a file a struct stat
.set STATUS, 464
.set TEXT, 480          # a number or two, in words
.set TEMPORARY, 1024    # paths
.set FINAL, 6144
.set MESSAGE, 12288
.set LEDGER, 32768
.set LEDGER_ROOM, 0x1000000
.set MEMORY, 0x1008000

.set RECORD_KIND, 4      # a record of the ledger
.set RECORD_NUMBER, 8
.set RECORD_TEXT, 12
.set HOLD, 0
.set WATCH, 1

.set LONGEST, 16384     # bytes of a message
.set BESIDE_BYTES, 48   # of a struct cmsghdr with eight descriptors
.set LONGEST_PATH, 4000
.set SPARE, 64

.set LOCK_FD, 3
.set LINE_FD, 5
.set LEDGER_FD, 6
.set FIRST_FREE, 7

.set FIRST_DELAY, 50
.set LAST_DELAY, 5000
.set GIVE_UP, 800
.set STEADY, 10000
.set MOMENT, 20

.set SYS_read, 0
.set SYS_write, 1
.set SYS_open, 2
.set SYS_close, 3
.set SYS_stat, 4
.set SYS_fstat, 5
.set SYS_poll, 7
.set SYS_lseek, 8
.set SYS_mmap, 9
.set SYS_rt_sigprocmask, 14
.set SYS_dup2, 33
.set SYS_getpid, 39
.set SYS_recvmsg, 47
.set SYS_socketpair, 53
.set SYS_fork, 57
.set SYS_execve, 59
.set SYS_wait4, 61
.set SYS_fcntl, 72
.set SYS_chdir, 80
.set SYS_rename, 82
.set SYS_unlink, 87
.set SYS_umask, 95
.set SYS_geteuid, 107
.set SYS_setsid, 112
.set SYS_prctl, 157
.set SYS_clock_gettime, 228
.set SYS_exit_group, 231
.set SYS_waitid, 247
.set SYS_signalfd4, 289
.set SYS_prlimit64, 302
.set SYS_memfd_create, 319
.set SYS_close_range, 436

.set PROT_READ_WRITE, 3
.set MAP_PRIVATE_ANONYMOUS_NORESERVE, 0x4022
.set PR_SET_NAME, 15
.set PR_SET_CHILD_SUBREAPER, 36
.set SIG_SETMASK, 2
.set MASK_BYTES, 8
.set SIGINFO_BYTES, 128 # of struct signalfd_siginfo, too
.set KNOCK, 43
.set F_DUPFD_CLOEXEC, 1030
.set CLOEXEC, 0x80000
.set CLOEXEC_NONBLOCK, 0x80800
.set AF_UNIX, 1
.set SEQPACKET_CLOEXEC, 0x80005
.set MSG_DONTWAIT, 0x40
.set EAGAIN, -11
.set POLLIN, 1
.set WEXITED_WNOHANG_WNOWAIT, 0x1000005
.set SI_CODE, 8
.set SI_PID, 16
.set SI_STATUS, 24
.set CLD_EXITED, 1
.set CLOCK_REALTIME, 0
.set CLOCK_MONOTONIC, 1
.set RLIMIT_NOFILE, 7
.set MFD_CLOEXEC, 1
.set WRITE_CREATE_TRUNCATE_CLOEXEC, 0x80241
.set WRITE_CLOEXEC, 0x80001
.set MODE, 0x180        # 0600
.set UMASK, 0x12        # 022

keep:
    mov r12, rsp                    # the number of arguments, and these
    xor edi, edi
    mov esi, MEMORY
    mov edx, PROT_READ_WRITE
    mov r10d, MAP_PRIVATE_ANONYMOUS_NORESERVE
    mov r8, -1
    xor r9d, r9d
    mov eax, SYS_mmap
    syscall
    test rax, rax
    js failed
    mov rbx, rax
    mov rax, [r12]
    cmp rax, 4
    jb failed
    lea rax, [r12+rax*8+16]
    mov [rbx+ENVIRONMENT], rax
    mov rax, [r12+16]
    mov [rbx+LOCK_PATH], rax
    lea rax, [r12+32]
    mov [rbx+COMMAND], rax
    lea rsi, [rip+ours]
    call mask
    lea rsi, [rip+name]
    mov edi, PR_SET_NAME
    call prctl
    mov rsi, [r12+24]
    call number
    mov [rbx+SHIM], rax
    test rax, rax
    jnz successor
    call detach
    jmp settled
successor:                          # of a keeper that died: we were the shim, whose fork goes on
    call read_ledger
    mov edi, LINE_FD
    mov esi, F_DUPFD_CLOEXEC
    mov edx, FIRST_FREE
    mov eax, SYS_fcntl
    syscall
    mov [rbx+LINE], rax
    call now
    mov [rbx+BORN], rax
settled:
    mov esi, 1
    mov edi, PR_SET_CHILD_SUBREAPER
    call prctl
    mov esi, LINE_FD                # these numbers are the shim's: no descriptor to hold shall get one
    call reserve
    mov esi, LEDGER_FD
    call reserve
    mov rdi, -1
    lea rsi, [rip+ours]
    mov edx, MASK_BYTES
    mov r10d, CLOEXEC_NONBLOCK
    mov eax, SYS_signalfd4
    syscall
    test rax, rax
    js failed
    mov [rbx+ALARM], rax

run:                                # until the shim has left
    mov rax, [rbx+SHIM]
    test rax, rax
    jnz kept
    mov r12, [rbx+DELAY]
    test r12, r12
    jz make
    call now
    add r12, rax
    call listen
make:
    call fork_shim
    test rax, rax
    js mourn
kept:
    call reap
    test rax, rax
    jz leave
    jns mourn
    mov r12, -1
    call listen
    jmp run
mourn:                              # it ended, with eax
    mov r13, rax
    call now
    sub rax, [rbx+BORN]
    cmp rax, STEADY
    ja steady
    mov rax, [rbx+DELAY]
    cmp rax, GIVE_UP
    jb later
    call needed
    test rax, rax
    mov rax, r13
    jz leave
    mov rax, [rbx+DELAY]
later:
    shl rax, 1
    jnz longer
    mov eax, FIRST_DELAY
longer:
    cmp rax, LAST_DELAY
    jbe delayed
    mov eax, LAST_DELAY
delayed:
    mov [rbx+DELAY], rax
    jmp run
steady:
    mov qword ptr [rbx+DELAY], 0
    jmp run

# leave(rax: status): with no lock, while it is still held; not another's, where somebody removed the
# state root
leave:
    mov r13, rax
    mov edi, LOCK_FD
    lea rsi, [rbx+ENDED]
    mov eax, SYS_fstat
    syscall
    mov r12, [rbx+ENDED+8]          # st_ino
    mov rdi, [rbx+LOCK_PATH]
    lea rsi, [rbx+ENDED]
    mov eax, SYS_stat
    syscall
    test rax, rax
    js left
    cmp r12, [rbx+ENDED+8]
    jne left
    mov rdi, [rbx+LOCK_PATH]
    mov eax, SYS_unlink
    syscall
left:
    mov rdi, r13
    and edi, 255
    mov eax, SYS_exit_group
    syscall
failed:
    mov edi, 1
    mov eax, SYS_exit_group
    syscall

# detach(): carry nothing of the client: parent, session, descriptors, directory, mask, cgroups
detach:
    mov eax, SYS_fork
    syscall
    test rax, rax
    js failed
    jnz gone
    mov eax, SYS_setsid
    syscall
    mov edi, LINE_FD
    mov esi, 0xffffffff
    xor edx, edx
    mov eax, SYS_close_range
    syscall
    test rax, rax
    jz closed
    mov r13d, 0x10000               # before Linux 5.9
closing:
    dec r13
    mov rdi, r13
    call close
    cmp r13, LINE_FD
    ja closing
closed:
    mov edi, UMASK
    mov eax, SYS_umask
    syscall
    lea rdi, [rip+top]
    mov eax, SYS_chdir
    syscall
    mov qword ptr [rbx+LINE], -1
    mov eax, SYS_geteuid
    syscall
    test rax, rax
    jnz detached
    # root only, as only root may; and only the hierarchies that stop or kill, not those that count
    lea r13, [rip+cgroups]
hierarchy:                          # never to be made where it is not
    mov rdi, r13
    mov esi, WRITE_CLOEXEC
    mov eax, SYS_open
    syscall
    test rax, rax
    js further
    mov r12, rax
    mov rdi, rax
    lea rsi, [rip+zero]
    mov edx, 1
    mov eax, SYS_write
    syscall
    mov rdi, r12
    call close
further:
    mov rsi, r13
    call length
    add r13, rdx
    movzx eax, byte ptr [r13]
    test eax, eax
    jnz hierarchy
detached:
    ret
gone:
    xor edi, edi
    mov eax, SYS_exit_group
    syscall

# reserve(rsi: a number): it leads to where 0 does
reserve:
    xor edi, edi
    mov eax, SYS_dup2
    syscall
    ret

# mask(rsi: the signals that wait). Blocked, as what is handled would interrupt and what is ignored
# stays so in every program a container runs.
mask:
    mov edi, SIG_SETMASK
    xor edx, edx
    mov r10d, MASK_BYTES
    mov eax, SYS_rt_sigprocmask
    syscall
    ret

# prctl(rdi, rsi)
prctl:
    xor edx, edx
    xor r10d, r10d
    xor r8d, r8d
    mov eax, SYS_prctl
    syscall
    ret

# close(rdi)
close:
    mov eax, SYS_close
    syscall
    ret

# now() -> rax
now:
    mov edi, CLOCK_MONOTONIC
    lea rsi, [rbx+CLOCK]
    mov eax, SYS_clock_gettime
    syscall
    mov rax, [rbx+CLOCK+8]
    xor edx, edx
    mov ecx, 1000000
    div rcx
    mov rcx, [rbx+CLOCK]
    imul rcx, rcx, 1000
    add rax, rcx
    ret

ours:                               # SIGHUP, SIGINT, SIGPIPE, SIGCHLD, SIGXFSZ, KNOCK
    .quad 0x40001011003
none:
    .quad 0
name:
    .asciz "mobyshell-keep"
top:
    .asciz "/"
zero:
    .asciz "0"
cgroups:
    .asciz "/sys/fs/cgroup/freezer/cgroup.procs"
    .asciz "/sys/fs/cgroup/systemd/cgroup.procs"
    .asciz "/sys/fs/cgroup/unified/cgroup.procs"
    .asciz "/sys/fs/cgroup/cgroup.procs"
    .asciz ""
