# How `verbs.s` and its parts put texts together, and find a text in another.

# copy(rsi: a text that ends with a zero, rdi) -> rdi at the zero of its copy
copy:
    movzx eax, byte ptr [rsi]
    mov [rdi], al
    test eax, eax
    jz copied
    inc rsi
    inc rdi
    jmp copy
copied:
    ret

# member(rdx: where one begins and ends, rdi) -> rdi behind its copy
member:
    mov rsi, [rdx]
    mov rcx, [rdx+8]
    sub rcx, rsi
    rep movsb
    ret

# decimal(rax, rdi, rcx: digits at least) -> rdi behind it
decimal:
    mov r8d, 10
    xor r9d, r9d
divide:
    xor edx, edx
    div r8
    add edx, 48
    push rdx
    inc r9d
    test rax, rax
    jnz divide
    cmp r9d, ecx
    jb divide
digit_goes:
    pop rax
    mov [rdi], al
    inc rdi
    dec r9d
    jnz digit_goes
    ret

# contains(rsi: where, rcx: its bytes, rdx: what, r8: its bytes) -> whether it does, in rax
contains:
    movzx r9d, byte ptr [rdx]
    lea r10, [rsi+rcx]
    sub r10, r8                     # the last place where it could be
try:
    cmp rsi, r10
    ja contains_not
    movzx eax, byte ptr [rsi]
    inc rsi
    cmp eax, r9d
    jne try
    mov r11, rsi
    dec rsi
    mov rdi, rdx
    mov rcx, r8
    repe cmpsb
    mov rsi, r11
    jne try
    mov eax, 1
    ret
contains_not:
    xor eax, eax
    ret

