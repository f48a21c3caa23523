/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An interface may not master the bus before it has been reset: nobody knows what the boot firmware has left it to do.
 *
 * Which line of the I/O APIC an interrupt pin is wired to only ACPI's bytecode says; what is there to be read is the
 * ISA line that the boot firmware has routed it to. That is right on chipsets that give their I/O APIC those lines too,
 * such as the emulated one. So it is tried once, and an interface whose interrupts do not arrive is polled.
 */
#include "firmware/nic.h"

#include "firmware/e1000.h"
#include "firmware/irq.h"
#include "firmware/paging.h"
#include "firmware/pci.h"
#include "firmware/tsc.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/x86_asm.h"

#define REGISTERS_BAR 0u
#define ARRIVES_US 10000u /* an interrupt */
#define ADDRESS_TEXT 18u
#define LINK_TEXT 24u

struct interface {
	struct e1000 *card;
	uint8_t line; /* PCI_NO_LINE: it is polled */
};

static struct interface interfaces[NICS_MAX];
static unsigned count;

static uint32_t read_register(void *ctx, uint32_t reg) { return mmio_read32((volatile uint8_t *)ctx + reg); }
static void write_register(void *ctx, uint32_t reg, uint32_t v) { mmio_write32((volatile uint8_t *)ctx + reg, v); }

/* ---- interrupts ---- */

static bool on_line(void *card) { return e1000_interrupt(card); }

/* Interrupts are masked but for this. */
static bool arrives(struct e1000 *e)
{
	uint64_t until = rdtsc() + ns_to_ticks(ARRIVES_US * 1000ull, host_clock.hz);
	const volatile uint64_t *seen = &e->nic.figures.interrupts;
	bool came;

	e->nic.ops->interrupts(&e->nic, true);
	e1000_provoke(e);
	do {
		sti();
		cpu_pause();
		cli();
	} while (*seen == 0 && rdtsc() < until);
	e->nic.ops->interrupts(&e->nic, false);
	came = *seen > 0;
	e->nic.figures.interrupts = 0;
	return came;
}

static uint8_t find_line(const struct pci_function *f, struct e1000 *e)
{
	uint8_t line = pci_line(f);
	enum status st;

	if (line == PCI_NO_LINE)
		return line;
	st = irq_request_pci(line, "nic", on_line, e);
	if (st == ST_OK && arrives(e))
		return line;
	log_warn("nic: %s: no interrupts by line %u: %s", e->nic.what, line,
		 st == ST_OK ? "they do not arrive" : status_name(st));
	return PCI_NO_LINE;
}

/* ---- looking for them ---- */

static void report(const struct interface *i)
{
	const struct nic *n = &i->card->nic;
	const uint8_t *m = n->mac;
	char address[ADDRESS_TEXT], link[LINK_TEXT] = "link down", how[LINK_TEXT] = "polled";

	format(address, sizeof(address), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
	if (n->up)
		format(link, sizeof(link), "link up %u Mb/s", n->link_mbps);
	if (i->line != PCI_NO_LINE)
		format(how, sizeof(how), "interrupt %u", i->line);
	log_info("nic: %s: %s, %s, %s, %s", n->name, n->what, address, link, how);
}

/* What a card that did not start has left over is the next one's. */
static void *card_memory, *ring_memory;

static bool has_memory(void *(*alloc)(size_t bytes))
{
	card_memory = card_memory ? card_memory : alloc(sizeof(struct e1000));
	ring_memory = ring_memory ? ring_memory : alloc(E1000_MEMORY_BYTES);
	return card_memory && ring_memory;
}

static enum status start(const struct pci_function *f, const struct e1000_model *model, const struct dma *dma,
			 struct error *err)
{
	struct e1000 *e = card_memory;
	uint64_t at = pci_memory_bar(f, REGISTERS_BAR);
	struct e1000_io io = {read_register, write_register, NULL};
	char where[PCI_NAME_MAX];
	enum status st;

	pci_name(f, where);
	io.ctx = at ? (void *)mmio_map(hpa(at), E1000_REGISTER_BYTES) : NULL;
	if (!io.ctx)
		return fail(err, ST_NO_MEMORY, "%s at %s: its registers cannot be mapped", model->name, where);
	pci_command(f, PCI_COMMAND_MASTER, PCI_COMMAND_MEMORY);
	st = e1000_open(e, model, &io, &host_clock, where, err);
	if (st != ST_OK)
		return st;
	format(e->nic.name, sizeof(e->nic.name), "nic%u", count);
	pci_command(f, 0, PCI_COMMAND_MASTER);
	st = e1000_start(e, dma, ring_memory, err);
	if (st != ST_OK)
		pci_command(f, PCI_COMMAND_MASTER, 0);
	return st;
}

static void look_at(const struct pci_function *f, const struct dma *dma, void *(*alloc)(size_t bytes))
{
	const struct e1000_model *model = f->vendor == E1000_VENDOR ? e1000_model_of(f->id) : NULL;
	struct interface *i = &interfaces[count];
	struct error err;

	if (!model)
		return;
	if (count == NICS_MAX || !has_memory(alloc)) {
		log_warn("nic: %s is left out: %s", model->name, count == NICS_MAX ? "there are too many" : "no memory");
		return;
	}
	if (start(f, model, dma, &err) != ST_OK) {
		log_warn("nic: %s", err.text);
		return;
	}
	i->card = card_memory;
	card_memory = ring_memory = NULL;
	i->line = find_line(f, i->card);
	i->card->nic.silent = i->line == PCI_NO_LINE;
	count++;
	report(i);
}

void nic_probe(const struct dma *dma, void *(*alloc)(size_t bytes))
{
	struct pci_walk walk = {.by = &pci_ports};
	struct pci_function f;

	while (pci_next(&walk, &f))
		look_at(&f, dma, alloc);
}

struct nic *nic_at(unsigned index) { return index < count ? &interfaces[index].card->nic : NULL; }

bool nic_has_interrupts(unsigned index) { return index < count && interfaces[index].line != PCI_NO_LINE; }
