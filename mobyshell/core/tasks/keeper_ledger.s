# The keeper's ledger: what it holds, and whom it looks out for.
#
# Records without a gap, as `keeping` reads and writes them: how long it is, HOLD or WATCH, a descriptor
# or a pid, and a name or a directory, with zeros to a multiple of four.

.set SLASH, 47
.set DIGIT_ZERO, 48

# drop(rsi: a name): let the descriptor go that is held under it, if one is
drop:
    call length
    lea rax, [rbx+LEDGER]
    mov r8, rax
    add r8, [rbx+LEDGER_BYTES]
    mov r9, rsi
compare:
    cmp rax, r8
    jae undropped
    cmp dword ptr [rax+RECORD_KIND], HOLD
    jne other
    mov rsi, r9
    lea rdi, [rax+RECORD_TEXT]
    mov rcx, rdx
    repe cmpsb
    je dropped
other:
    mov ecx, [rax]
    add rax, rcx
    jmp compare
dropped:
    mov edi, [rax+RECORD_NUMBER]
    call remove
    dec qword ptr [rbx+HELD]
    jmp close
undropped:
    ret

# forget(rdi: a pid)
forget:
    call watched
    test rax, rax
    jnz remove
    ret

# watched(rdi: a pid) -> rax: its record, or 0
watched:
    lea rax, [rbx+LEDGER]
    mov rcx, rax
    add rcx, [rbx+LEDGER_BYTES]
seek:
    cmp rax, rcx
    jae unwatched
    cmp dword ptr [rax+RECORD_KIND], WATCH
    jne not_it
    cmp edi, [rax+RECORD_NUMBER]
    je found
not_it:
    mov edx, [rax]
    add rax, rdx
    jmp seek
unwatched:
    xor eax, eax
found:
    ret

# remove(rax: a record); rdi stays
remove:
    push rdi
    mov edx, [rax]
    lea rsi, [rax+rdx]
    lea rcx, [rbx+LEDGER]
    add rcx, [rbx+LEDGER_BYTES]
    sub rcx, rsi
    mov rdi, rax
    rep movsb
    sub [rbx+LEDGER_BYTES], rdx
    pop rdi
    ret

# record(rsi: text, ecx: kind, edx: number) -> rax: negative if there is no room
record:
    push rdx
    call length
    mov rax, rdx
    pop rdx
    add rax, RECORD_TEXT+3
    and rax, -4
    lea rdi, [rbx+LEDGER]
    mov r8, [rbx+LEDGER_BYTES]
    add rdi, r8
    add r8, rax
    cmp r8, LEDGER_ROOM
    ja full
    mov [rbx+LEDGER_BYTES], r8
    mov [rdi], eax
    mov dword ptr [rdi+rax-4], 0    # what the text does not fill
    mov [rdi+RECORD_KIND], ecx
    mov [rdi+RECORD_NUMBER], edx
    add rdi, RECORD_TEXT
    call copy
    xor eax, eax
    ret
full:
    mov rax, -1
    ret

# needed() -> rax: not 0 if there is a task: one that lives, or whose last words are in what is held for it
needed:
    lea rsi, [rbx+LEDGER]
    mov rdx, rsi
    add rdx, [rbx+LEDGER_BYTES]
    mov eax, 1
every:
    cmp rsi, rdx
    jae idle
    cmp dword ptr [rsi+RECORD_KIND], WATCH
    je used
    cmp byte ptr [rsi+RECORD_TEXT], SLASH
    jne used
    mov ecx, [rsi]
    add rsi, rcx
    jmp every
idle:
    xor eax, eax
used:
    ret

# make_room(): raise the soft limit of open files when it comes near (limits.py)
make_room:
    mov rax, [rbx+HELD]
    add rax, SPARE
    mov rcx, [rbx+LIMITS]
    cmp rax, rcx
    jbe roomy
    xor edx, edx
    lea r10, [rbx+LIMITS]
    call limit
    mov rcx, [rbx+LIMITS]
    mov rdx, [rbx+LIMITS+8]
    mov rax, [rbx+HELD]
    lea r8, [rax+SPARE]
    cmp r8, rcx
    jbe roomy
    cmp rcx, rdx
    jae roomy
    shl rcx, 2
    shl rax, 1
    cmp rcx, rax
    jae more
    mov rcx, rax
more:
    cmp rcx, rdx
    jbe allowed
    mov rcx, rdx
allowed:
    mov [rbx+LIMITS+16], rcx
    mov [rbx+LIMITS+24], rdx
    lea rdx, [rbx+LIMITS+16]
    xor r10d, r10d
    call limit
    mov qword ptr [rbx+LIMITS], 0   # asked anew, as it may have been refused
roomy:
    ret
# limit(rdx: the new one, r10: where the old one goes)
limit:
    xor edi, edi
    mov esi, RLIMIT_NOFILE
    mov eax, SYS_prlimit64
    syscall
    ret

# write_ledger() -> rax: negative if that cannot be. For a shim: as it is now, in a file without a name
write_ledger:
    lea rdi, [rip+ledger_name]
    mov esi, MFD_CLOEXEC
    mov eax, SYS_memfd_create
    syscall
    test rax, rax
    js unwritten
    mov r12, rax
    lea rsi, [rbx+LEDGER]
    mov r13, [rbx+LEDGER_BYTES]
    add r13, rsi
writing:
    mov rdx, r13
    sub rdx, rsi
    jz written
    mov rdi, r12
    mov eax, SYS_write
    syscall
    test rax, rax
    js unwritten
    add rsi, rax
    jmp writing
written:
    mov rdi, r12
    xor esi, esi
    xor edx, edx
    mov eax, SYS_lseek
    syscall
    mov rdi, r12
    mov esi, LEDGER_FD
    mov eax, SYS_dup2
    syscall
unwritten:
    ret

# read_ledger(): from our predecessor
read_ledger:
    lea rsi, [rbx+LEDGER]
reading:
    lea rdx, [rbx+LEDGER+LEDGER_ROOM]
    sub rdx, rsi
    mov edi, LEDGER_FD
    mov eax, SYS_read
    syscall
    test rax, rax
    js failed
    jz count
    add rsi, rax
    jmp reading
count:
    lea rax, [rbx+LEDGER]
    mov rdx, rsi
    sub rdx, rax
    mov [rbx+LEDGER_BYTES], rdx
counting:
    cmp rax, rsi
    jae counted
    cmp dword ptr [rax+RECORD_KIND], HOLD
    jne not_held
    inc qword ptr [rbx+HELD]
not_held:
    mov ecx, [rax]
    add rax, rcx
    jmp counting
counted:
    ret

# length(rsi: text) -> rdx: its bytes with the NUL
length:
    mov rdx, rsi
measure:
    cmp byte ptr [rdx], 0
    lea rdx, [rdx+1]
    jne measure
    sub rdx, rsi
    ret

# copy(rdi: where to, rsi: text) -> rdi: its NUL there
copy:
    push rdx
    call length
    mov rcx, rdx
    rep movsb
    dec rdi
    pop rdx
    ret

# number(rsi: digits) -> rax; rsi: behind them
number:
    xor eax, eax
digit:
    movzx ecx, byte ptr [rsi]
    sub ecx, DIGIT_ZERO
    cmp ecx, 9
    ja numbered
    imul rax, rax, 10
    add rax, rcx
    inc rsi
    jmp digit
numbered:
    ret

# digits(rax: a number, rdi: where to) -> rdi: behind them
digits:
    mov rsi, rsp
divide:
    xor edx, edx
    mov ecx, 10
    div rcx
    add edx, DIGIT_ZERO
    push rdx
    test rax, rax
    jnz divide
fill:
    pop rdx
    mov [rdi], dl
    inc rdi
    cmp rsp, rsi
    jb fill
    ret

ledger_name:
    .asciz "ledger"
