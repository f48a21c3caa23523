/* SPDX-License-Identifier: Apache-2.0 */
/*
 * newlib's system calls, under the names without underscore that this target
 * uses. What needs an operating system says so by errno.
 */
#include "firmware/libc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/times.h>
#include <unistd.h>

#include "firmware/hostlog.h"
#include "firmware/tsc.h"
#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/clock.h"

#define PROCESS_ID 1

/* Not declared by newlib's headers in strict C. */
void *sbrk(ptrdiff_t increment);
int kill(pid_t pid, int signal);
#define US_PER_S 1000000u

static char *heap;
static size_t heap_len, heap_used;

void libc_set_heap(void *base, size_t len)
{
	ASSERT(!heap);
	heap = base;
	heap_len = len;
}

size_t libc_heap_used(void)
{
	return heap_used;
}

void *sbrk(ptrdiff_t increment)
{
	char *old = heap + heap_used;

	if (increment < 0 ? (size_t)-increment > heap_used : (size_t)increment > heap_len - heap_used) {
		errno = ENOMEM;
		return (void *)-1;
	}
	heap_used += (size_t)increment;
	return old;
}

_READ_WRITE_RETURN_TYPE write(int fd, const void *data, size_t len)
{
	if (fd != STDOUT_FILENO && fd != STDERR_FILENO) {
		errno = EBADF;
		return -1;
	}
	hostlog_write(data, len);
	return (_READ_WRITE_RETURN_TYPE)len;
}

_READ_WRITE_RETURN_TYPE read(int fd, void *data, size_t len)
{
	(void)data;
	(void)len;
	errno = fd == STDIN_FILENO ? 0 : EBADF;
	return fd == STDIN_FILENO ? 0 : -1; /* standard input is at its end */
}

int open(const char *path, int flags, ...)
{
	(void)path;
	(void)flags;
	errno = ENOENT;
	return -1;
}

int close(int fd)
{
	(void)fd;
	errno = EBADF;
	return -1;
}

off_t lseek(int fd, off_t offset, int whence)
{
	(void)fd;
	(void)offset;
	(void)whence;
	errno = ESPIPE;
	return -1;
}

int fstat(int fd, struct stat *out)
{
	if (fd < STDIN_FILENO || fd > STDERR_FILENO) {
		errno = EBADF;
		return -1;
	}
	*out = (struct stat){.st_mode = S_IFCHR};
	return 0;
}

int isatty(int fd)
{
	return fd >= STDIN_FILENO && fd <= STDERR_FILENO;
}

pid_t getpid(void)
{
	return PROCESS_ID;
}

/* abort() and friends arrive here: the control task has no way to go on. */
int kill(pid_t pid, int signal)
{
	(void)pid;
	panic("libc: signal %d", signal);
}

void _exit(int code)
{
	panic("libc: exit(%d)", code);
}

/* Time since boot: the machine's calendar is not libc's business. */
int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
	unsigned long long us = host_uptime_us();

	(void)zone;
	out->tv_sec = (time_t)(us / US_PER_S);
	out->tv_usec = (suseconds_t)(us % US_PER_S);
	return 0;
}

clock_t times(struct tms *out)
{
	*out = (struct tms){0};
	return (clock_t)(host_uptime_us() / (US_PER_S / CLOCKS_PER_SEC));
}
