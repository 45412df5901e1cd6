# What the keeper is told: the words of `holder`, in datagrams with descriptors beside them.

.set WORD_hold, 0x646c6f68
.set WORD_drop, 0x706f7264
.set WORD_watc, 0x63746177
.set WORD_unwa, 0x61776e75

# hear_all(): everything that the shim has said up to now
hear_all:
    mov rax, [rbx+LINE]
    test rax, rax
    js heard_all
    call hear
    test rax, rax
    js heard_all
    jnz hear_all
    call hang_up
heard_all:
    ret

# hang_up()
hang_up:
    mov rdi, [rbx+LINE]
    mov qword ptr [rbx+LINE], -1
    test rdi, rdi
    js hung_up
    call close
hung_up:
    ret

# hear() -> rax: 1 for a datagram, 0 when it has hung up, -1 if there is none now
hear:
    lea rsi, [rbx+HEADER]
    lea rax, [rbx+VECTOR]
    mov [rsi+16], rax
    mov qword ptr [rsi+24], 1
    lea rcx, [rbx+MESSAGE]
    mov [rax], rcx
    mov qword ptr [rax+8], LONGEST
    lea rcx, [rbx+BESIDE]
    mov qword ptr [rcx], 0
    mov [rsi+32], rcx
    mov qword ptr [rsi+40], BESIDE_BYTES
    mov rdi, [rbx+LINE]
    mov edx, MSG_DONTWAIT
    mov eax, SYS_recvmsg
    syscall
    cmp rax, EAGAIN
    je nothing_now
    push r12
    push r13
    push r14
    push r15
    xor r12d, r12d
    lea r13, [rbx+BESIDE+16]        # the descriptors, up to r14
    mov r14, r13
    mov rcx, [rbx+HEADER+40]
    cmp rcx, 16
    jb said
    mov ecx, [rbx+BESIDE+8]
    cmp ecx, 1                      # SOL_SOCKET
    jne said
    mov r14, [rbx+BESIDE]
    lea rcx, [rbx+BESIDE]
    add r14, rcx
said:
    test rax, rax
    js understood
    jz understood
    inc r12
    lea r15, [rbx+MESSAGE]
    lea rcx, [r15+rax]
    mov qword ptr [rcx], 0          # so that nothing goes on behind the end
    mov rdi, rcx
    call words
understood:                         # what came with words that hold nothing
    cmp r13, r14
    jae spent
    mov edi, [r13]
    add r13, 4
    call close
    jmp understood
spent:
    mov rax, r12
    pop r15
    pop r14
    pop r13
    pop r12
    ret
nothing_now:
    mov rax, -1
    ret

# words(r15: the first, rdi: the end): things to do, each of words with a NUL in between, and an empty
# word before the next. What is none of them is passed over.
words:
    push rbp
    mov rbp, rdi
statement:
    cmp r15, rbp
    jae done
    mov rdi, r15
    mov ecx, 1                      # words
through:
    movzx eax, byte ptr [rdi]
    inc rdi
    test eax, eax
    jnz through
    cmp rdi, rbp
    ja complete
    movzx eax, byte ptr [rdi]
    test eax, eax
    jz complete
    inc ecx
    jmp through
complete:
    inc rdi
    mov [rbx+NEXT], rdi
    lea rsi, [r15+5]
    mov eax, [r15]
    cmp eax, WORD_watc
    je watch
    cmp ecx, 2
    jne next
    cmp eax, WORD_unwa
    je unwatch
    movzx ecx, byte ptr [r15+4]
    test ecx, ecx
    jnz next
    cmp eax, WORD_hold
    je hold
    cmp eax, WORD_drop
    jne next
    call drop
next:
    mov r15, [rbx+NEXT]
    jmp statement
done:
    pop rbp
    ret

hold:                               # NAME, and the next descriptor
    mov r15, rsi
    call drop
    cmp r13, r14
    jae next                        # it got lost: no number was free for it
    mov edx, [r13]
    add r13, 4
    push rdx
    mov rsi, r15
    xor ecx, ecx                    # HOLD
    call record
    pop rdi
    test rax, rax
    js unheld
    inc qword ptr [rbx+HELD]
    call make_room
    jmp next
unheld:
    call close
    jmp next

watch:                              # PID DIRECTORY
    cmp ecx, 3
    jne next
    inc rsi                         # behind `watch`
    call number
    test rax, rax
    jz next
    cmp byte ptr [rsi], 0
    jne next
    mov r15, rax
    inc rsi
    push rsi
    mov rdi, rax
    call forget
    pop rsi
    mov rdx, r15
    mov ecx, WATCH
    call record
    jmp next

unwatch:                            # PID
    add rsi, 3
    call number
    mov rdi, rax
    call forget
    jmp next
