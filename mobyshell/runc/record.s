# How `verbs.s` reads: small files, and the record of a container (state.json). What it knows of its
# init and its groups by that is in `groups.s`.
#
# A record is taken as core/runtime writes it, to the letter: whatever is not is Python's (`python`). So
# what is found later, in a text that was understood, needs no more suspicion.
#
#   rbx the memory below   r12 the container's directory   r13 that of all   r14 a place in the record

.set SYS_read, 0
.set SYS_write, 1
.set SYS_close, 3
.set SYS_fstat, 5
.set SYS_poll, 7
.set SYS_mmap, 9
.set SYS_rt_sigaction, 13
.set SYS_getpid, 39
.set SYS_execve, 59
.set SYS_clock_gettime, 228
.set SYS_exit_group, 231
.set SYS_openat, 257
.set SYS_unlinkat, 263
.set SYS_renameat, 264
.set SYS_faccessat, 269
.set SYS_pidfd_send_signal, 424
.set SYS_pidfd_open, 434

.set AT_FDCWD, -100
.set NO_ENTRY, -2

.set MEMBERS, 0         # the text of each member of the record, from where to where
.set M_ID, 0
.set M_PID, 16
.set M_PID_START, 32
.set M_CREATED, 80
.set M_STARTED, 96
.set M_CGROUPS, 112
.set M_NAMESPACES, 128
.set M_ANNOTATIONS, 176
.set M_OWNER, 192
.set M_LEVELS, 256
.set M_UNIT, 272
.set M_RESCTRL, 304
.set RECORD_END, 0x180
.set HAS_UNICODE, 0x188 # whether a string of it has escapes that `state` shows otherwise
.set PID, 0x190
.set SMALL, 0x200       # what a call wants or fills
.set NAME_ROOM, 0x300
.set PATH_ROOM, 0x400
.set PATH_END, 0x1300   # at the latest; what is appended has room
.set STAT_ROOM, 0x2000  # a /proc/PID/stat
.set STAT_BYTES, 0x1000
.set TEXT_ROOM, 0x4000
.set RECORD_ROOM, 0x40000
.set RECORD_BYTES, 0x10000
.set FILE_ROOM, 0x60000
.set FILE_BYTES, 0xa0000
.set ALL_ROOM, 0x100000

.set ST_MODE, 24
.set HOW_READ, 0xa0900  # O_RDONLY|O_NONBLOCK|O_NOCTTY|O_NOFOLLOW|O_CLOEXEC

shape:                              # "'" stands for a quote, a capital for a value
    .ascii "{'id': S, 'pid': N, 'pid_start': N, 'bundle': S, 'rootfs': S, 'created_ns': N, 'started_ns': N, "
    .ascii "'cgroups': M, 'namespaces': L, 'terminal': W, 'args': L, 'annotations': M, 'owner': N, "
    .ascii "'oci_version': S, 'exit_status': W, 'exited_ns': N, 'cgroup_levels': L, 'unit': S, "
    .asciz "'root_mount': L, 'resctrl': L}"

small_words:
    .asciz "true"
    .asciz "false"
    .asciz "null"
    .asciz ""
escapes:
    .asciz "\"\\nrtbf"

# slurp(rdi: directory, rsi: name, rdx: where to, rcx: room) -> bytes, or -errno; a zero follows
slurp:
    push r12
    push r13
    push r14
    push r15
    mov r12, rdx
    lea r13, [rdx+rcx]
    mov r14, rdx
    mov edx, HOW_READ
    xor r10d, r10d
    mov eax, SYS_openat
    syscall
    mov r15, rax
    test rax, rax
    js slurped
    mov rdi, r15
    lea rsi, [rbx+SMALL]
    mov eax, SYS_fstat
    syscall
    test rax, rax
    jnz python
    mov eax, [rbx+SMALL+ST_MODE]
    and eax, 0xf000
    cmp eax, 0x8000                 # a regular file
    jne python
more:
    mov rdi, r15
    mov rsi, r14
    mov rdx, r13
    sub rdx, r14
    jz python                        # too long
    xor eax, eax
    syscall
    add r14, rax
    test rax, rax
    js unreadable
    jnz more
    mov byte ptr [r14], 0
    mov rax, r14
    sub rax, r12
unreadable:
    mov r14, rax
    mov rdi, r15
    mov eax, SYS_close
    syscall
    mov rax, r14
slurped:
    pop r15
    pop r14
    pop r13
    pop r12
    ret

# understand(): the record that lies at RECORD_ROOM; r14 its end
understand:
    lea rsi, [rbx+RECORD_ROOM]
    lea rdx, [rip+shape]
    lea rdi, [rbx+MEMBERS]
    mov [rbx+RECORD_END], r14
letter:
    movzx ecx, byte ptr [rdx]
    inc rdx
    lea rax, [rcx-65]
    cmp eax, 26
    jb value
    test ecx, ecx
    jz understood
    cmp ecx, 39
    jne literal
    mov ecx, 34
literal:
    movzx eax, byte ptr [rsi]
    inc rsi
    cmp eax, ecx
    jne python
    jmp letter
value:
    mov [rdi], rsi
    cmp ecx, 83                     # "S"
    jne not_string
    call string
    jmp valued
not_string:
    mov r8d, 91
    cmp ecx, 76                     # "L"
    je compound
    mov r8d, 123
    cmp ecx, 77                     # "M"
    je compound
    cmp ecx, 87                     # "W": digits, or a word
    jne numeral
    movzx eax, byte ptr [rsi]
    cmp eax, 97
    jae small_word
numeral:
    call digits
    jmp valued
compound:
    call strings
    jmp valued
small_word:
    lea r8, [rip+small_words]
other_word:
    mov r9, rsi
same_word:
    movzx eax, byte ptr [r8]
    inc r8
    test eax, eax
    jz word_ends
    movzx r10d, byte ptr [r9]
    inc r9
    cmp eax, r10d
    je same_word
word_differs:
    movzx eax, byte ptr [r8]
    inc r8
    test eax, eax
    jnz word_differs
    cmp byte ptr [r8], 0
    jne other_word
    jmp python
word_ends:
    mov rsi, r9
valued:
    mov [rdi+8], rsi
    add rdi, 16
    jmp letter
understood:
    cmp rsi, [rbx+RECORD_END]
    jne python
    ret

# digits(rsi) -> rsi behind them: up to 19, which fit, and no zero before others
digits:
    mov r8, rsi
one_digit:
    movzx eax, byte ptr [rsi]
    sub eax, 48
    cmp eax, 10
    jae digits_end
    inc rsi
    jmp one_digit
digits_end:
    mov rax, rsi
    sub rax, r8
    jz python
    cmp eax, 19
    ja python
    cmp eax, 1
    je single
    cmp byte ptr [r8], 48
    je python
single:
    ret

# string(rsi: at its quote) -> rsi behind it
string:
    movzx eax, byte ptr [rsi]
    cmp eax, 34
    jne python
character:
    inc rsi
    movzx eax, byte ptr [rsi]
    cmp eax, 34
    je string_ends
    cmp eax, 92                     # a backslash
    je escape
    sub eax, 32                     # ASCII, and printed: all else is escaped
    cmp eax, 95
    jb character
    jmp python
escape:
    inc rsi
    lea r10, [rip+escapes]
known_escape:
    movzx eax, byte ptr [r10]
    test eax, eax
    jz unicode
    inc r10
    movzx r11d, byte ptr [rsi]
    cmp eax, r11d
    jne known_escape
    jmp character
unicode:
    cmp byte ptr [rsi], 117         # "u", and four digits, as it is written
    jne python
    mov qword ptr [rbx+HAS_UNICODE], 1
    mov r10d, 4
hexadecimal:
    inc rsi
    movzx eax, byte ptr [rsi]
    sub eax, 48
    cmp eax, 10
    jb next_hexadecimal
    sub eax, 49                     # "a" less "0"
    cmp eax, 6
    jae python
next_hexadecimal:
    dec r10d
    jnz hexadecimal
    jmp character
string_ends:
    inc rsi
    ret

# strings(rsi: at a bracket, r8: which) -> rsi behind its end; in braces they are pairs
strings:
    movzx eax, byte ptr [rsi]
    cmp eax, r8d
    jne python
    inc rsi
    lea r9, [r8+2]                  # the closing one
    movzx eax, byte ptr [rsi]
    cmp eax, r9d
    je strings_end
one_string:
    call string
    cmp r8d, 123
    jne no_pair
    mov eax, 58                     # ": "
    call separator
    call string
no_pair:
    movzx eax, byte ptr [rsi]
    cmp eax, r9d
    je strings_end
    mov eax, 44                     # ", "
    call separator
    jmp one_string
strings_end:
    inc rsi
    ret

# separator(rsi, eax: a character) -> rsi behind that and a blank
separator:
    movzx r10d, byte ptr [rsi]
    cmp r10d, eax
    jne python
    cmp byte ptr [rsi+1], 32
    jne python
    add rsi, 2
    ret

# number(rsi: its digits) -> rax, and rsi behind them
number:
    xor eax, eax
digit_of:
    movzx ecx, byte ptr [rsi]
    sub ecx, 48
    cmp ecx, 10
    jae number_ends
    imul rax, rax, 10
    add rax, rcx
    inc rsi
    jmp digit_of
number_ends:
    ret
