/* SPDX-License-Identifier: Apache-2.0 */
/* Local APIC, IO-APIC, PICs and PIT: see apic.h. */
#include "tests/guests/lib/apic.h"

#include "tests/guests/lib/guest.h"

#define APIC_MMIO 0xfee00000ull
#define IOAPIC_SELECT 0xfec00000ull
#define IOAPIC_WINDOW 0xfec00010ull
#define IOAPIC_ENTRY 0x10u
#define IOAPIC_LEVEL BIT(15)
#define IOAPIC_MASKED BIT(16)

#define PIC_MASTER 0x20
#define PIC_SLAVE 0xa0
#define PIC_ICW1 0x11
#define PIC_ICW4 0x01
#define PIC_EOI 0x20
#define PIC_CASCADE 2

#define PIT_CHANNEL0 0x40
#define PIT_CHANNEL2 0x42
#define PIT_COMMAND 0x43
#define PIT_0_MODE2 0x34
#define PIT_2_MODE0 0xb0
#define PORT_61 0x61
#define PORT_61_GATE 0x01
#define PORT_61_SPEAKER 0x02
#define PORT_61_OUT2 0x20

#define XAPIC_ID_SHIFT 24

static const unsigned lvts[] = {APIC_REG_LVT_TIMER, APIC_REG_LVT_THERMAL, APIC_REG_LVT_PMC,
				APIC_REG_LVT_LINT0, APIC_REG_LVT_LINT1,   APIC_REG_LVT_ERROR};
static enum apic_mode current;
bool apic_modes_differ;

/* Asking the processor costs an exit, which what is measured elsewhere should not contain. */
static enum apic_mode mode_here(void)
{
	if (!apic_modes_differ)
		return current;
	return rdmsr(MSR_IA32_APIC_BASE) & APIC_BASE_EXTD ? APIC_X2APIC : APIC_XAPIC;
}

uint32_t apic_read(unsigned reg)
{
	if (mode_here() == APIC_X2APIC)
		return (uint32_t)rdmsr(MSR_X2APIC(reg));
	return mmio_read32((volatile void *)(APIC_MMIO + reg));
}

uint32_t apic_id(void) { return apic_read(APIC_REG_ID) >> (mode_here() == APIC_X2APIC ? 0 : XAPIC_ID_SHIFT); }

void apic_write(unsigned reg, uint32_t value)
{
	if (mode_here() == APIC_X2APIC)
		wrmsr(MSR_X2APIC(reg), value);
	else
		mmio_write32((volatile void *)(APIC_MMIO + reg), value);
}

void apic_set_mode(enum apic_mode mode)
{
	uint64_t base = rdmsr(MSR_IA32_APIC_BASE), bare = base & ~(APIC_BASE_EN | APIC_BASE_EXTD);

	current = mode;
	if (mode == APIC_OFF || (mode == APIC_XAPIC && (base & APIC_BASE_EXTD)))
		wrmsr(MSR_IA32_APIC_BASE, bare);
	if (mode == APIC_OFF)
		return;
	if (mode == APIC_XAPIC || !(base & APIC_BASE_EN))
		wrmsr(MSR_IA32_APIC_BASE, bare | APIC_BASE_EN);
	if (mode == APIC_X2APIC)
		wrmsr(MSR_IA32_APIC_BASE, bare | APIC_BASE_EN | APIC_BASE_EXTD);
	apic_write(APIC_REG_SVR, APIC_SVR_ENABLE | APIC_SPURIOUS);
	for (unsigned i = 0; i < ARRAY_SIZE(lvts); i++)
		apic_write(lvts[i], APIC_LVT_MASKED);
	apic_write(APIC_REG_TPR, 0);
}

void apic_send_self(uint8_t vector)
{
	apic_send(0, vector | (uint32_t)APIC_ICR_SELF);
}

void apic_send(uint32_t dest, uint32_t icr)
{
	if (mode_here() == APIC_X2APIC) {
		wrmsr(MSR_X2APIC_ICR, (uint64_t)dest << 32 | icr);
		return;
	}
	apic_write(APIC_REG_ICR_HIGH, dest << 24);
	apic_write(APIC_REG_ICR_LOW, icr);
}

static void ioapic_write(unsigned reg, uint32_t value)
{
	mmio_write32((volatile void *)IOAPIC_SELECT, reg);
	mmio_write32((volatile void *)IOAPIC_WINDOW, value);
}

void ioapic_route(unsigned gsi, uint8_t vector, bool level)
{
	uint32_t low = vector ? vector : (uint32_t)IOAPIC_MASKED;

	if (level)
		low |= (uint32_t)IOAPIC_LEVEL;
	ioapic_write(IOAPIC_ENTRY + 2 * gsi, (uint32_t)IOAPIC_MASKED);
	ioapic_write(IOAPIC_ENTRY + 2 * gsi + 1, 0); /* destination: APIC id 0 */
	ioapic_write(IOAPIC_ENTRY + 2 * gsi, low);
}

void ioapic_send_to(unsigned gsi, uint32_t id)
{
	ioapic_write(IOAPIC_ENTRY + 2 * gsi + 1, id << 24);
}

void pic_mask(uint16_t mask)
{
	out8(PIC_MASTER + 1, (uint8_t)mask);
	out8(PIC_SLAVE + 1, (uint8_t)(mask >> 8));
}

void pic_init(uint8_t base)
{
	out8(PIC_MASTER, PIC_ICW1);
	out8(PIC_SLAVE, PIC_ICW1);
	out8(PIC_MASTER + 1, base);
	out8(PIC_SLAVE + 1, (uint8_t)(base + 8));
	out8(PIC_MASTER + 1, 1 << PIC_CASCADE);
	out8(PIC_SLAVE + 1, PIC_CASCADE);
	out8(PIC_MASTER + 1, PIC_ICW4);
	out8(PIC_SLAVE + 1, PIC_ICW4);
	pic_mask(0xffff);
}

void pic_eoi(unsigned irq)
{
	if (irq >= 8)
		out8(PIC_SLAVE, PIC_EOI);
	out8(PIC_MASTER, PIC_EOI);
}

void pit_periodic(uint16_t count)
{
	out8(PIT_COMMAND, PIT_0_MODE2);
	out8(PIT_CHANNEL0, (uint8_t)count);
	out8(PIT_CHANNEL0, (uint8_t)(count >> 8));
}

uint64_t pit_measure(uint16_t count)
{
	uint8_t gate = (uint8_t)((in8(PORT_61) & ~PORT_61_SPEAKER) | PORT_61_GATE);
	uint64_t start;

	out8(PORT_61, gate & ~PORT_61_GATE);
	out8(PIT_COMMAND, PIT_2_MODE0);
	out8(PIT_CHANNEL2, (uint8_t)count);
	out8(PIT_CHANNEL2, (uint8_t)(count >> 8));
	out8(PORT_61, gate);
	start = rdtsc_ordered();
	while (!(in8(PORT_61) & PORT_61_OUT2))
		;
	return rdtsc_ordered() - start;
}
