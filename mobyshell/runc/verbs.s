# start, state, kill and delete of a container by its record, without Python, on x86-64 Linux.
#
# This is a program of its own: what it knows of a container is in `record.s` and `groups.s`, which come
# before this part; start, delete and state are in `start.s`, `delete.s` and `shown.s`. All is done as
# quick_verbs.py does it: whatever is unusual, whatever fails, and whatever has to be explained is
# PYTHON's, from the start.
#
# Called as VERBS VERB ROOT ID NUMBER LOG PYTHON ARGUMENTS…, where LOG may be empty. VERB is a word of
# those above, or kill-all (--all) or delete-force (--force); NUMBER is the signal.
#
#   rbx the memory of record.s   rbp argc, argv, 0, envp   r12 the container's directory
#   r13 that of all   r14, r15 the verb's

.set V_VERB, 16         # arguments, from where argc is
.set V_ROOT, 24
.set V_ID, 32
.set V_NUMBER, 40
.set V_LOG, 48
.set V_PYTHON, 56

.set VERB_STAT, 0x74617473 # the first four letters
.set VERB_STAR, 0x72617473
.set VERB_KILL, 0x6c6c696b
.set VERB_DELE, 0x656c6564

.set INTERRUPTED, -4
.set HOW_LOG, 0x80441   # O_WRONLY|O_CREAT|O_APPEND|O_CLOEXEC
.set HOW_ITSELF, 0xb0000 # O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC
.set SIGKILL, 9
.set SIGPIPE, 13
.set POLLIN, 1
.set PATIENCE, 30000    # milliseconds

verbs:
    mov rbp, rsp
    sub rsp, 32                     # struct sigaction
    mov rax, 1                      # SIG_IGN: who reads what we write may be gone, which is no end
    mov [rsp], rax
    xor eax, eax
    mov [rsp+8], rax
    mov [rsp+16], rax
    mov [rsp+24], rax
    mov edi, SIGPIPE
    mov rsi, rsp
    xor edx, edx
    mov r10d, 8
    mov eax, SYS_rt_sigaction
    syscall
    xor edi, edi
    mov esi, ALL_ROOM
    mov edx, 3                      # PROT_READ|PROT_WRITE
    mov r10d, 0x22                  # MAP_PRIVATE|MAP_ANONYMOUS
    mov r8, -1
    xor r9d, r9d
    mov eax, SYS_mmap
    syscall
    cmp rax, -4095
    jae python
    mov rbx, rax
    mov rsi, [rbp+V_LOG]            # it is there afterwards, as Python's is
    cmp byte ptr [rsi], 0
    je find
    mov rdi, AT_FDCWD
    mov edx, HOW_LOG
    mov r10d, 420                   # rw-r--r--
    mov eax, SYS_openat
    syscall
    test rax, rax
    js python
    mov rdi, rax
    mov eax, SYS_close
    syscall

find:
    mov rdi, AT_FDCWD
    mov rsi, [rbp+V_ROOT]
    mov edx, HOW_DIRECTORY
    xor r10d, r10d
    mov eax, SYS_openat
    syscall
    test rax, rax
    js python
    mov r13, rax
    call open_container
    mov r12, rax
    cmp rax, NO_ENTRY
    je missing
    test rax, rax
    js python
    mov rdi, r12
    lea rsi, [rip+state_name]
    lea rdx, [rbx+RECORD_ROOM]
    mov ecx, RECORD_BYTES
    call slurp
    test rax, rax
    js python
    lea r14, [rbx+RECORD_ROOM]
    add r14, rax
    call understand
    mov rsi, [rbx+M_ID]             # the one that is asked for
    mov rdi, [rbp+V_ID]
same_id:
    inc rsi
    movzx eax, byte ptr [rdi]
    inc rdi
    cmp byte ptr [rsi], 34
    je id_ends
    movzx ecx, byte ptr [rsi]
    cmp eax, ecx
    je same_id
    jmp python
id_ends:
    test eax, eax
    jnz python
    mov rsi, [rbx+M_PID]
    mov rax, [rbx+M_PID+8]
    sub rax, rsi
    cmp eax, 9                      # digits
    ja python
    call number
    mov [rbx+PID], rax

    mov rax, [rbp+V_VERB]
    mov eax, [rax]
    cmp eax, VERB_STAT
    je state
    cmp eax, VERB_KILL
    je kill
    cmp eax, VERB_STAR
    je start_it
    cmp eax, VERB_DELE
    je delete
    jmp python

missing:                            # engines make sure in the end
    call wide
    je python
    mov rax, [rbp+V_VERB]
    cmp dword ptr [rax], VERB_DELE
    jne python
done:
    xor edi, edi
exit:
    mov eax, SYS_exit_group
    syscall
python:                             # Python, instead of us
    mov rdi, [rbp+V_PYTHON]
    lea rsi, [rbp+V_PYTHON]
    mov rdx, [rbp]
    lea rdx, [rbp+rdx*8+16]
    mov eax, SYS_execve
    syscall
    mov edi, 127
    jmp exit

state_name:
    .asciz "state.json"
config_name:
    .asciz "config.json"

# open_container() -> a descriptor of its directory, or -errno
open_container:
    mov rdi, r13
    mov rsi, [rbp+V_ID]
    mov edx, HOW_ITSELF
    xor r10d, r10d
    mov eax, SYS_openat
    syscall
    ret

# wide(): whether it is --all or --force: then not equal
wide:
    mov rax, [rbp+V_VERB]
letters:
    movzx ecx, byte ptr [rax]
    inc rax
    cmp ecx, 45                     # "-"
    je is_wide
    test ecx, ecx
    jnz letters
    ret
is_wide:
    test ecx, ecx
    ret

# config(): the container's config.json, into FILE_ROOM; r14 its bytes
config:
    mov rdi, r12
    lea rsi, [rip+config_name]
    lea rdx, [rbx+FILE_ROOM]
    mov ecx, FILE_BYTES
    call slurp
    test rax, rax
    js python
    mov r14, rax
    ret

# configured(rdx: a word in quotes, r8: its bytes) -> whether it is in there
configured:
    lea rsi, [rbx+FILE_ROOM]
    mov rcx, r14
    jmp contains

# absent(rsi: a name): there must be no such file in the container's directory
absent:
    mov rdi, r12
    xor edx, edx                    # F_OK
    mov eax, SYS_faccessat
    syscall
    cmp rax, NO_ENTRY
    jne python
    ret

# hold() -> a pidfd of the init: from here on the number cannot change its owner unnoticed
hold:
    mov edi, [rbx+PID]
    xor esi, esi
    mov eax, SYS_pidfd_open
    syscall
    test rax, rax
    js python
    push rax
    call alive
    test eax, eax
    jz python
    pop rax
    ret

# send(r15: a pidfd, rsi: a signal) -> 0 or -errno
send:
    mov rdi, r15
    xor edx, edx
    xor r10d, r10d
    mov eax, SYS_pidfd_send_signal
    syscall
    ret

# wait(edi: a descriptor, esi: an event) -> 0 if it did not come
wait:
    mov [rbx+SMALL], edi            # struct pollfd
    mov [rbx+SMALL+4], esi
    lea rdi, [rbx+SMALL]
    mov esi, 1
    mov edx, PATIENCE
    mov eax, SYS_poll
    syscall
    cmp rax, INTERRUPTED
    jne waited
    mov edi, [rbx+SMALL]
    mov esi, [rbx+SMALL+4]
    jmp wait
waited:
    ret

# One that is created has no program yet: what a signal does then is the library's to say.
kill:
    mov rsi, [rbp+V_NUMBER]
    call number
    mov r14, rax
    call wide
    jne kill_all
    cmp r14d, SIGKILL
    je kill_it
    lea rsi, [rip+fifo_name]
    call absent
    jmp signal_it
kill_it:
    call dies_alone
signal_it:
    call hold
    mov r15, rax
    mov rsi, r14
    call send
    test rax, rax
    jnz python
    cmp r14d, SIGKILL
    jne done
    call thaw
    jmp done

# Everybody: that nobody is left, or the end of all at once.
kill_all:
    call alive
    test eax, eax
    jz kill_nobody
    cmp r14d, SIGKILL
    jne python
    call dies_alone
    lea rdx, [rip+unified_name]
    call group
    test eax, eax
    jz python
    lea rsi, [rip+kill_file]
    lea rdx, [rip+one_word]
    mov ecx, 1
    call spell
    cmp rax, 1
    jne python
    call thaw
    jmp done
kill_nobody:
    mov r14, [rbx+M_CGROUPS]
    inc r14
empty_group:
    cmp byte ptr [r14], 34
    jne done
    mov rsi, r14
    call string
    add rsi, 2
    call place
    call behind
    mov r14, rsi
    call nobody
    jmp empty_group
kill_file:
    .asciz "/cgroup.kill"
one_word:
    .asciz "1"
fifo_name:
    .asciz "exec.fifo"
