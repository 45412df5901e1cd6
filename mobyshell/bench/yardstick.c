/* The same plan in C: one process per container, with nothing but the system calls.
 *
 * plan.h, made by the bench, says where the two flat programs lie (core/runtime/program.py) and
 * what else belongs to one container. What this takes is what no runtime in C with this plan can
 * go below; it writes no state and explains nothing.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <errno.h>
#include <unistd.h>
#include "plan.h"

enum { WORDS = 10 };

static int walk(uint64_t *records, uint64_t length)
{
    uint64_t *cells = records + length * (WORDS + 3);
    for (uint64_t index = 0; index < length; index++) {
        uint64_t *word = records + index * WORDS, value[6], control = word[7];
        for (int at = 0; at < 6; at++)
            value[at] = control >> at & 1 ? cells[word[1 + at]] : word[1 + at];
        if (word[0] == UINT64_MAX) {
            if (value[1] == 4)
                *(uint32_t *)value[0] = value[2];
            else
                *(uint64_t *)value[0] = value[2];
            continue;
        }
        long result = syscall(word[0], value[0], value[1], value[2], value[3], value[4], value[5]);
        if (result == -1) {
            uint64_t tolerated = word[8];
            while (tolerated && (tolerated & 255) != (uint64_t)errno)
                tolerated >>= 8;
            if (!tolerated)
                return -1;
            index += control >> 8 & 0xffff;
        } else {
            if (control & 64)
                cells[control >> 40 & 0xffff] = result;
            if (control & 128 && (uint64_t)result != word[9])
                return -1;
            index += control >> 24 & 0xffff;
        }
    }
    return 0;
}

static uint64_t *map(const char *path, uint64_t base, uint64_t size)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *at = mmap((void *)base, size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_FIXED_NOREPLACE, fd, 0);
    close(fd);
    return at == (void *)base ? (uint64_t *)(base + HEADER_BYTES) : NULL;
}

static void give(uint64_t *cells, int cell, int fd)
{
    if (cell >= 0)
        cells[cell] = fcntl(fd, F_DUPFD_CLOEXEC, 64);
}

int main(void)
{
    static const char *groups[] = {GROUPS};
    int pair[2], pidfd = -1;
    char byte;
    siginfo_t ended = {0};
    uint64_t *prepare = map(PREPARE, PREPARE_BASE, PREPARE_BYTES);
    uint64_t *child = map(CHILD, CHILD_BASE, CHILD_BYTES);
    if (!prepare || !child || mkfifo(FIFO, 0600))
        return 101;
    int fifo = open(FIFO, O_RDWR | O_CLOEXEC), null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
        return 102;
    if (walk(prepare, PREPARE_LENGTH))
        return 103;
    uint64_t *cells = child + CHILD_LENGTH * (WORDS + 3);
    give(cells, CELL_STDIN, null);
    give(cells, CELL_STDOUT, null);
    give(cells, CELL_STDERR, null);
    give(cells, CELL_SYNC, pair[1]);
    give(cells, CELL_FIFO, fifo);
    struct clone_args how = {.flags = FLAGS | CLONE_PIDFD, .pidfd = (uint64_t)&pidfd,
                             .exit_signal = SIGCHLD};
    if (CELL_CGROUP >= 0) {
        how.flags |= CLONE_INTO_CGROUP;
        how.cgroup = prepare[PREPARE_LENGTH * (WORDS + 3) + CELL_CGROUP];
    }
    long pid = syscall(SYS_clone3, &how, sizeof how);
    if (pid == 0)
        _exit(walk(child, CHILD_LENGTH) ? 104 : 0);
    close(pair[1]);
    if (pid < 0 || read(pair[0], &byte, 1) != 1 || byte != 'r' || write(fifo, "1", 1) != 1)
        return 105;
    if (waitid(P_PIDFD, pidfd, &ended, WEXITED))
        return 106;
    unlink(FIFO);
    for (unsigned at = 0; at < sizeof groups / sizeof *groups; at++)
        rmdir(groups[at]);
    return ended.si_status;
}
