/* SPDX-License-Identifier: Apache-2.0 */
/* Output, exceptions and the end of a test guest: see guest.h. */
#include "tests/guests/lib/guest.h"

#define VECTORS 32
#define STUB_BYTES 16
#define GATE_INTERRUPT 0x8e00u /* present, DPL 0, 32-bit interrupt gate */
#define CODE_SELECTOR 8u
#define LSR 5
#define LSR_THRE 0x20

/* start.S */
extern const uint8_t exception_stubs[];
void idt_setup(void);
void exception(uint32_t vector, uint32_t eip);
__attribute__((returns_twice)) int attempt_enter(uint32_t saved[6]);
_Noreturn void attempt_leave(const uint32_t saved[6], int result);

static struct {
	uint32_t low, high;
} idt[VECTORS];

static uint32_t attempt_saved[6];
static bool attempting;

void idt_setup(void)
{
	struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) pointer = {sizeof(idt) - 1, (uint32_t)idt};

	for (unsigned v = 0; v < VECTORS; v++) {
		uint32_t stub = (uint32_t)exception_stubs + v * STUB_BYTES;

		idt[v].low = CODE_SELECTOR << 16 | (stub & 0xffff);
		idt[v].high = (stub & 0xffff0000) | GATE_INTERRUPT;
	}
	__asm__ volatile("lidt %0" : : "m"(pointer));
}

void exception(uint32_t vector, uint32_t eip)
{
	if (attempting) {
		attempting = false;
		attempt_leave(attempt_saved, (int)vector + 1);
	}
	put("guest: exception ");
	put_dec(vector);
	put(" at ");
	put_hex(eip);
	put("\n");
	finish(FINISH_EXCEPTION + vector);
}

int attempt(void (*fn)(void *arg), void *arg)
{
	int result = attempt_enter(attempt_saved);

	if (result)
		return result - 1;
	attempting = true;
	fn(arg);
	attempting = false;
	return -1;
}

_Noreturn void finish(uint32_t code)
{
	out32(PORT_DEBUG_EXIT, code);
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void put_char(char c)
{
	while (!(in8(PORT_COM1 + LSR) & LSR_THRE))
		;
	out8(PORT_COM1, (uint8_t)c);
}

void put(const char *text)
{
	for (; *text; text++) {
		if (*text == '\n')
			put_char('\r');
		put_char(*text);
	}
}

void put_hex(uint32_t value)
{
	for (int shift = 28; shift >= 0; shift -= 4)
		put_char("0123456789abcdef"[value >> shift & 15]);
}

void put_dec(uint32_t value)
{
	if (value >= 10)
		put_dec(value / 10);
	put_char((char)('0' + value % 10));
}

uint32_t random32(void)
{
	/* Marsaglia, "Xorshift RNGs" (2003) */
	static uint32_t state = 0x9e3779b9;

	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}
