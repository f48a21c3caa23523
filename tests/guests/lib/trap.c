/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The IDT and what happens behind it: a handler of the guest, a fix-up, or the end.
 */
#include "tests/guests/lib/trap.h"

#include "tests/guests/lib/guest.h"

#define STUB_SPACING 16u
#define CODE_SELECTOR 0x08u
#define GATE_PRESENT 0x80u

struct gate {
	uint16_t offset0, selector;
	uint8_t ist, type;
	uint16_t offset16;
	uint32_t offset32, reserved;
};
_Static_assert(sizeof(struct gate) == 16, "SDM 3A:6.14.1");

extern char trap_stubs[];
extern const struct extable_entry extable_start[], extable_end[];

struct last_trap last_trap;
static struct gate idt[VEC_COUNT];
static void (*handlers[VEC_COUNT])(struct trap_frame *f);

static void put_gate(unsigned vector, uint64_t entry)
{
	idt[vector] = (struct gate){.offset0 = (uint16_t)entry, .selector = CODE_SELECTOR,
				    .type = GATE_PRESENT | SEG_TYPE_INT_GATE, .offset16 = (uint16_t)(entry >> 16),
				    .offset32 = (uint32_t)(entry >> 32)};
}

void trap_load(void)
{
	struct descriptor_ptr ptr = {.limit = sizeof idt - 1, .base = (uint64_t)idt};

	lidt(&ptr);
}

void trap_init(void)
{
	for (unsigned i = 0; i < VEC_COUNT; i++)
		put_gate(i, (uint64_t)trap_stubs + i * STUB_SPACING);
	trap_load();
}

void set_gate(unsigned vector, void (*entry)(void))
{
	put_gate(vector, (uint64_t)entry);
}

void set_handler(unsigned vector, void (*fn)(struct trap_frame *f))
{
	handlers[vector] = fn;
}

static bool fix_up(struct trap_frame *f)
{
	for (const struct extable_entry *e = extable_start; e < extable_end; e++) {
		if (e->fault_rip != f->rip)
			continue;
		last_trap = (struct last_trap){f->vector, f->error, read_cr2()};
		f->rip = e->fixup_rip;
		return true;
	}
	return false;
}

void trap(struct trap_frame *f)
{
	if (handlers[f->vector]) {
		handlers[f->vector](f);
		return;
	}
	if (f->vector < VEC_FIRST_EXTERNAL && fix_up(f))
		return;
	fail_with("trap %llu error 0x%llx at 0x%llx, cr2 0x%llx", (unsigned long long)f->vector,
		  (unsigned long long)f->error, (unsigned long long)f->rip, (unsigned long long)read_cr2());
}
