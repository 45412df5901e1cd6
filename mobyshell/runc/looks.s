# How `front.s` looks whether things are as a ticket says. A value is where a text lies, and its bytes.

.set SYS_newfstatat, 262
.set HOW_GIVEN, 0x80900 # O_RDONLY|O_NONBLOCK|O_NOCTTY|O_CLOEXEC
.set NULL_DEVICE, 0x103 # 1:3
.set SINCE_WORD, 20     # of field 22, behind the name in brackets

# same(rdi: pairs of addresses with a length, until a zero)
same:
    mov rdx, rdi
pair:
    mov rdi, [rdx]
    mov rsi, [rdx+8]
    mov rcx, [rdx+16]
    add rdx, 24
    test rdi, rdi
    jz yes
    cmp rcx, rcx                    # none are the same as none
    repe cmpsb
    je pair
    jmp no

# match(rdi: value, rsi: value)
match:
    mov rcx, [rdi+8]
    cmp rcx, [rsi+8]
    jne no
    mov rdi, [rdi]
    mov rsi, [rsi]
    repe cmpsb                      # none: as the lengths were
    jne no
    jmp yes

# given(rdi: argument)
given:
    mov rdi, [rbp+rdi]
    movzx eax, byte ptr [rdi]
    test eax, eax
    jz no
    jmp yes

# is(rdi: argument, rsi: text)
is:
    mov rdi, [rbp+rdi]
letter:
    movzx eax, byte ptr [rdi]
    movzx ecx, byte ptr [rsi]
    cmp eax, ecx
    jne no
    inc rdi
    inc rsi
    test eax, eax
    jnz letter
    ret

# words(rdi: how many, rsi: the texts, each with its zero, rdx: bytes): arguments lie behind each other
words:
    mov rax, [rbp]
    sub rax, rdi
    jb no
    mov rdi, [rbp+rax*8+8]
    mov rcx, rdx
    cmp rcx, rcx
    repe cmpsb
    jne no
    jmp yes

# described(rdi: argument, rsi: room, rdx: bytes), file(rdi: path, …): what would be read only once is
# Python's
described:
    mov rdi, [rbp+rdi]
file:
    push rbx
    push r12
    push r13
    sub rsp, STAT_BYTES
    mov r12, rsi
    mov r13, rdx
    call opened
    test rax, rax
    js unlike
    mov rbx, rax
    mov rdi, rax
    mov rsi, rsp
    mov eax, SYS_fstat
    syscall
    test rax, rax
    jnz unlike
    mov eax, [rsp+ST_MODE]
    and eax, 0xf000
    cmp eax, 0x8000
    jne unlike
    cmp r13, [rsp+ST_SIZE]
    jne unlike
    mov rdi, rbx
    mov rsi, r12
    mov rdx, r13
    mov eax, SYS_read
    syscall
    cmp rax, r13
    jne unlike
    mov rdi, rbx
    mov eax, SYS_close
    syscall
    jmp like
unlike:
    mov eax, 1
like:
    add rsp, STAT_BYTES
    pop r13
    pop r12
    pop rbx
    ret

# content(rdi: path, rsi: value with its room, rdx: bytes of that)
content:
    push rbx
    push r12
    push r13
    mov r12, rsi
    mov r13, rdx
    call opened
    mov rbx, rax
    test rax, rax
    js unread
    xor eax, eax
    mov [r12+8], rax
part:
    mov rdi, rbx
    mov rsi, [r12]
    add rsi, [r12+8]
    mov rdx, r13
    sub rdx, [r12+8]
    jz unread                       # there may be more
    mov eax, SYS_read
    syscall
    test rax, rax
    js unread
    add [r12+8], rax
    test rax, rax
    jnz part
    mov rdi, rbx
    mov eax, SYS_close
    syscall
    jmp whole
unread:
    mov eax, 1
whole:
    pop r13
    pop r12
    pop rbx
    ret

opened:
    mov rsi, rdi
    mov rdi, AT_FDCWD
    mov edx, HOW_GIVEN
    xor r10d, r10d
    mov eax, SYS_openat
    syscall
    ret

# lines(rdi: value, rsi: value): of the first one only the lines are left that have the other one,
# four bytes at least, in them
#   rbx line   r8 end   r9 where the next one goes   r10 needle   r11 its bytes   rdx value
lines:
    push rbx
    mov rdx, rdi
    mov r10, [rsi]
    mov r11, [rsi+8]
    mov rbx, [rdx]
    mov r9, rbx
    mov r8, [rdx+8]
    add r8, rbx
line:
    cmp rbx, r8
    jae counted
    mov rdi, rbx
look:
    mov eax, [rdi]
    cmp eax, [r10]
    je likely
    movzx ecx, al
    inc rdi
    cmp ecx, 10                     # newline
    je without
    cmp rdi, r8
    jb look
without:
    mov rbx, rdi
    jmp line
likely:
    mov rsi, r10
    mov rcx, r11
    mov rax, rdi
    repe cmpsb
    je keep
    lea rdi, [rax+1]
    jmp look
keep:
    cmp rbx, r8
    jae counted
    movzx eax, byte ptr [rbx]
    mov [r9], al
    inc rbx
    inc r9
    cmp eax, 10
    jne keep
    jmp line
counted:
    sub r9, [rdx]
    mov [rdx+8], r9
    pop rbx
    jmp yes

# streams(rdi: uid)
streams:
    push r12
    push r13
    sub rsp, STAT_BYTES
    mov r13, rdi
    xor r12d, r12d
stream:
    mov rdi, r12
    mov rsi, rsp
    mov eax, SYS_fstat
    syscall
    test rax, rax
    jnz judged
    mov rax, [rsp+ST_RDEV]
    cmp rax, NULL_DEVICE
    je harmless
    mov eax, [rsp+ST_UID]
    sub eax, r13d
    jnz judged
harmless:
    inc r12d
    cmp r12d, 3
    jne stream
    xor eax, eax
judged:
    add rsp, STAT_BYTES
    pop r13
    pop r12
    ret

# since(rdi: end of the room of a /proc/PID/stat, which is full of blanks and has a bracket before it,
# rsi: value). The name may have spaces and brackets in it: so from the last of these.
since:
bracket:
    dec rdi
    movzx eax, byte ptr [rdi]
    cmp eax, 41                     # ")"
    jne bracket
    mov edx, SINCE_WORD
space:
    inc rdi
    movzx eax, byte ptr [rdi]
    cmp eax, 32
    jne space
    dec edx
    jnz space
    inc rdi
    mov [rsi], rdi
    xor ecx, ecx
numeral:
    movzx eax, byte ptr [rdi+rcx]
    cmp eax, 32
    je numbered
    inc rcx
    jmp numeral
numbered:
    mov [rsi+8], rcx
    jmp yes
