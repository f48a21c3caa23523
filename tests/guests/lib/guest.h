/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a test guest has at hand: a console on COM1, what the loader told it,
 * traps with fix-ups, and an end. A guest defines guest_main(); returning from
 * it reports success. The last line a guest prints is "NAME: pass" or "NAME:
 * FAIL reason", and the debug-exit port gets the same as a number.
 */
#ifndef CORBEL_TESTS_GUESTS_GUEST_H
#define CORBEL_TESTS_GUESTS_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/x86_asm.h"

#define COM1 0x3f8
#define DEBUG_EXIT_PORT 0xf4
#define EXIT_PASS 0x2au
#define EXIT_FAIL 1u

/* The guest's own part; the name appears in its last line. */
extern const char guest_name[];
void guest_main(void);

/* ---- console ---- */

void console_init(void);
void put_char(char c);
__attribute__((format(printf, 1, 2))) void print(const char *fmt, ...);
/* A byte from COM1, -1 when none is waiting. */
int get_char(void);

/* ---- the end ---- */

/* Prints the verdict, writes @code to the debug-exit port, and halts where there is none. */
__attribute__((noreturn)) void finish(uint32_t code);
__attribute__((noreturn, format(printf, 1, 2))) void fail_with(const char *fmt, ...);
/* Sleeps until an interrupt, interrupts on while it sleeps. */
static inline void halt(void)
{
	sti_hlt_cli();
}

#define CHECK(cond, ...)                        \
	do {                                    \
		if (!(cond))                    \
			fail_with(__VA_ARGS__); \
	} while (0)

/* ---- what the loader said ---- */

#define RANGES_MAX 16
#define MODULES_MAX 8

struct range {
	uint64_t start, size;
	uint32_t type; /* 1: RAM */
};

struct boot_facts {
	const char *protocol; /* "multiboot" or "pvh" */
	const char *cmdline;
	struct range map[RANGES_MAX];
	unsigned ranges;
	struct { uint64_t start, size; const char *cmdline; } modules[MODULES_MAX];
	unsigned modules_count;
	uint64_t rsdp; /* 0: not told */
	uint64_t info_end; /* where the highest piece of boot information ends */
};
extern struct boot_facts boot;

/* First byte after the image. */
extern char image_start[], image_end[];

/* Value of "KEY=NUMBER" on the command line (decimal, or hexadecimal with 0x), @otherwise when it is not there. */
uint64_t option(const char *key, uint64_t otherwise);
/* True when @word stands on the command line by itself. */
bool option_word(const char *word);

/* ---- traps ---- */

struct trap_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};

/* The latest exception that a fix-up (.extable) caught. */
extern struct last_trap { uint64_t vector, error, address; } last_trap;

/* @fn handles @vector from now on; NULL: a trap there ends the guest with a report. */
void set_handler(unsigned vector, void (*fn)(struct trap_frame *f));

/* The raw form: @vector goes straight to @entry, which ends with iretq. */
void set_gate(unsigned vector, void (*entry)(void));

/*
 * Executes one instruction given as a string, with inputs (and after a colon clobbers) behind it; true when it
 * ran, false when it raised an exception (see last_trap).
 */
#define TRY(insn, ...)                                                              \
	({                                                                          \
		uint32_t ran_ = 0;                                                  \
		__asm__ volatile("1: " insn "\n\tmovl $1, %[ran]\n\t2:\n\t"         \
				 EXTABLE_ROW(1b, 2b)                                \
				 : [ran] "+&S"(ran_)                                \
				 : __VA_ARGS__);                                    \
		ran_ != 0;                                                          \
	})

/* ---- memory ---- */

/* Maps [@addr, @addr + @size) one to one with 2 MiB pages, beyond the 4 GiB of start-up. */
void map_identity(uint64_t addr, uint64_t size);

/* ---- time ---- */

/* TSC ticks a second: CPUID 15h, else measured by the PIT. */
uint64_t tsc_hz(void);
/* Spins that many TSC ticks. */
void spin_ticks(uint64_t ticks);
/* A pseudo-random sequence (xorshift64*): the same for the same seed everywhere. */
uint64_t random_next(uint64_t *state);

#endif
