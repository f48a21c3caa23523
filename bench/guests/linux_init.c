/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only program of a Linux whose boot is measured: pid 1, static, without a
 * C library, so that its first instruction is the first of user space. It reads
 * the TSC there, runs the micro-workloads that docs/bench.md names, prints one
 * `bench NAME ticks` line for each, and powers the machine off. The same binary
 * runs bare and as a guest, so the lines can be laid side by side.
 */
#include <linux/reboot.h>
#include <stdint.h>
#include <sys/syscall.h>

#define PAGES 4096
#define FORKS 50
#define PIPES 2000
#define SIGCHLD 17

static long sys(long n, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall" : "+a"(n) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return n;
}

static uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

static void print(const char *s)
{
	long n = 0;

	while (s[n])
		n++;
	sys(SYS_write, 1, (long)s, n, 0, 0, 0);
}

static void report(const char *name, uint64_t value)
{
	char digits[24];
	int i = sizeof digits;

	digits[--i] = 0;
	digits[--i] = '\n';
	do
		digits[--i] = (char)('0' + value % 10);
	while ((value /= 10) != 0);
	print("bench ");
	print(name);
	print(" ");
	print(digits + i);
}

static void getppid_10000(void)
{
	for (int i = 0; i < 10000; i++)
		sys(SYS_getppid, 0, 0, 0, 0, 0, 0);
}

static void fork_50(void)
{
	for (int i = 0; i < FORKS; i++) {
		long pid = sys(SYS_fork, 0, 0, 0, 0, 0, 0);

		if (pid == 0)
			sys(SYS_exit, 0, 0, 0, 0, 0, 0);
		sys(SYS_wait4, pid, 0, 0, 0, 0, 0);
	}
}

static volatile uint8_t *area;

static void touch_4096(void)
{
	for (int i = 0; i < PAGES; i++)
		area[i * 4096l] = 1;
}

static void increments_256k(void)
{
	static volatile uint64_t line[8];

	for (int i = 0; i < 256 * 1024; i++)
		line[0]++;
}

static void pipe_2000(void)
{
	int fd[2];
	char byte = 0;

	sys(SYS_pipe, (long)fd, 0, 0, 0, 0, 0);
	for (int i = 0; i < PIPES; i++) {
		sys(SYS_write, fd[1], (long)&byte, 1, 0, 0, 0);
		sys(SYS_read, fd[0], (long)&byte, 1, 0, 0, 0);
	}
}

static void cpuid_1000(void)
{
	for (int i = 0; i < 1000; i++) {
		uint32_t a = 0, b, c = 0, d;

		__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	}
}

struct workload {
	const char *name;
	void (*run)(void);
};

static const struct workload workloads[] = {
	{"getppid_10000", getppid_10000}, {"fork_50", fork_50},   {"touch_4096", touch_4096},
	{"retouch_4096", touch_4096},	  {"increments_256k", increments_256k},
	{"pipe_2000", pipe_2000},	  {"cpuid_1000", cpuid_1000},
};

/* Called by _start with the TSC at the first user instruction. */
__attribute__((noreturn, used)) void init(uint64_t first)
{
	report("user_space", first);
	area = (volatile uint8_t *)sys(SYS_mmap, 0, PAGES * 4096l, 3, 0x22, -1, 0);
	for (unsigned i = 0; i < sizeof workloads / sizeof workloads[0]; i++) {
		uint64_t start = rdtsc();

		workloads[i].run();
		report(workloads[i].name, rdtsc() - start);
	}
	report("end", rdtsc());
	/* What is still in the console's buffer would be lost with the power. */
	sys(SYS_nanosleep, (long)&(struct { long s, ns; }){0, 200000000}, 0, 0, 0, 0, 0);
	sys(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_POWER_OFF, 0, 0, 0);
	/* No power-off (acpi=off): the machine is told to stop through the halt below, and the bench ends it. */
	for (;;)
		sys(SYS_pause, 0, 0, 0, 0, 0, 0);
}

__asm__(".globl _start\n_start:\n\trdtsc\n\tshl $32, %rdx\n\tlea (%rax,%rdx), %rdi\n\tand $-16, %rsp\n\tcall init\n");
