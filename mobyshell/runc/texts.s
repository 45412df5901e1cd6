# How `front.s` makes texts. A value is where a text lies, its bytes, and room for a number's digits.

.set SYS_clock_gettime, 228
.set VALUE_END, 40

# text(rdi: argument, rsi: value, rdx: the most bytes): an argument that is not empty
text:
    mov rdi, [rbp+rdi]
    mov [rsi], rdi
    xor ecx, ecx
character:
    movzx eax, byte ptr [rdi+rcx]
    test eax, eax
    jz counts
    inc rcx
    cmp rcx, rdx
    jbe character
    jmp no
counts:
    mov [rsi+8], rcx
    test rcx, rcx
    jz no
    jmp yes

# fill(rdi: table). For each text, until a zero: where it goes, where its bytes are told (or 0), and
# its parts; of each of these, until a zero: where it lies and its bytes, or a value and -1.
fill:
    push rbx
    mov rbx, rdi
filled:
    mov rdi, [rbx]
    test rdi, rdi
    jz full
    mov rdx, [rbx+16]
piece:
    mov rsi, [rdx]
    test rsi, rsi
    jz complete
    mov rcx, [rdx+8]
    add rdx, 16
    cmp rcx, -1
    jne literal
    mov rcx, [rsi+8]
    mov rsi, [rsi]
literal:
    rep movsb
    jmp piece
complete:
    mov byte ptr [rdi], 0
    sub rdi, [rbx]
    mov rax, [rbx+8]
    add rbx, 24
    test rax, rax
    jz filled
    mov [rax], rdi
    jmp filled
full:
    pop rbx
    jmp yes

# number(rdi: address, rsi: value)
number:
    mov rax, [rdi]
digits:                             # of rax, from the last one on
    lea rdi, [rsi+VALUE_END]
    mov ecx, 10
digit:
    xor edx, edx
    div rcx
    add edx, 48                     # "0"
    dec rdi
    mov [rdi], dl
    test rax, rax
    jnz digit
    mov [rsi], rdi
    lea rax, [rsi+VALUE_END]
    sub rax, rdi
    mov [rsi+8], rax
    jmp yes

# clock(rdi: value)
clock:
    push rdi
    sub rsp, 16
    xor edi, edi                    # CLOCK_REALTIME
    mov rsi, rsp
    mov eax, SYS_clock_gettime
    syscall
    imul rax, [rsp], 1000000000
    add rax, [rsp+8]
    add rsp, 16
    pop rsi
    jmp digits

# copy(rdi: from, rsi: to)
copy:
    mov rax, [rdi]
    mov [rsi], rax
    jmp yes
