/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the small test guests share: each is one C file with guest_main(), built
 * as a 32-bit multiboot 1 ELF and run by Corbel like any other kernel. Output
 * goes to COM1; finish() ends the VM through the debug-exit port. Exceptions
 * unwind to attempt() when one is under way and end the guest otherwise.
 */
#ifndef CORBEL_TESTS_GUEST_H
#define CORBEL_TESTS_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PORT_COM1 0x3f8
#define PORT_DEBUG_EXIT 0xf4

/* Exit codes of finish() that are not a guest's own. */
#define FINISH_EXCEPTION 0xe0u /* plus the vector */

struct multiboot_module {
	uint32_t start, end, string, reserved;
};

/* Multiboot 1, section 3.3, as far as the guests read it. */
struct multiboot_info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
	uint32_t syms[4], mmap_length, mmap_addr;
};

/* What a guest does. @magic is what EAX held at the entry. Returning ends the VM with code 0. */
void guest_main(uint32_t magic, const struct multiboot_info *info);

/* Ends this VM with @code; halts for ever where there is no debug-exit port. */
_Noreturn void finish(uint32_t code);

void put(const char *text);
void put_hex(uint32_t value);
void put_dec(uint32_t value);

/* Calls @fn(@arg). Returns -1, or the vector of the exception that ended it early. */
int attempt(void (*fn)(void *arg), void *arg);

/* Deterministic: the same numbers in every run. */
uint32_t random32(void);

static inline void out8(uint16_t port, uint8_t v) { __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }
static inline void out16(uint16_t port, uint16_t v) { __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port)); }
static inline void out32(uint16_t port, uint32_t v) { __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port)); }

static inline uint8_t in8(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint32_t in32(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint64_t rdmsr(uint32_t index)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(index));
	return (uint64_t)hi << 32 | lo;
}

static inline void wrmsr(uint32_t index, uint64_t v)
{
	__asm__ volatile("wrmsr" : : "c"(index), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}

static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

#endif
