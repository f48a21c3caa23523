/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 8259A (Intel data sheet 231468). Priorities are found by rotating a mask so
 * that the input of highest priority is bit 0 and taking the lowest set bit. A
 * request is withdrawn when its line falls before the acknowledge, as the chip
 * does; the acknowledge then yields the spurious vector. Not kept: the 8085
 * mode, buffered mode, and which inputs ICW3 names (the wiring is fixed).
 */
#include "guest/vpic.h"

#include "guest/pc.h"
#include "lib/assert.h"
#include "lib/bits.h"

#define INPUTS 8
#define NONE INPUTS /* a priority below all others */
#define SPURIOUS 7

#define ICW1 BIT(4) /* A0 = 0: starts initialisation */
#define ICW1_IC4 BIT(0)
#define ICW1_SINGLE BIT(1)
#define ICW1_LEVEL BIT(3)
#define ICW2_BASE 0xf8
#define ICW4_AUTO_EOI BIT(1)
#define ICW4_SPECIAL_FULLY_NESTED BIT(4)
#define OCW3 BIT(3) /* A0 = 0, ICW1 clear; else OCW2 */
#define OCW3_READ_ISR BIT(0)
#define OCW3_READ BIT(1)
#define OCW3_POLL BIT(2)
#define OCW3_SPECIAL_MASK BIT(5)
#define OCW3_SET_SPECIAL_MASK BIT(6)
#define POLL_REQUEST 0x80

/* OCW2 bits 7..5. */
enum { OCW2_CLEAR_ROTATE_AUTO, OCW2_EOI, OCW2_NOP, OCW2_SPECIFIC_EOI, OCW2_SET_ROTATE_AUTO, OCW2_ROTATE_EOI,
       OCW2_SET_PRIORITY, OCW2_ROTATE_SPECIFIC_EOI };

/* Timer, keyboard, cascade; RTC and coprocessor: always edge-triggered. */
static const uint8_t elcr_writable[2] = {0xf8, 0xde};

/* ---- one chip ---- */

static bool is_master(const struct vpic *pic, const struct vpic_chip *chip) { return chip == &pic->chips[0]; }

static uint8_t level_inputs(const struct vpic_chip *chip) { return chip->icw1 & ICW1_LEVEL ? 0xff : chip->elcr; }

/* Priority (0 is highest) of the first input in @mask, NONE when it is empty. */
static unsigned first_priority(const struct vpic_chip *chip, uint8_t mask)
{
	unsigned turned = (unsigned)(mask << INPUTS | mask) >> chip->top;

	return mask ? bit_lowest(turned) : NONE;
}

static unsigned input_at(const struct vpic_chip *chip, unsigned priority) { return (priority + chip->top) % INPUTS; }

/* In-service inputs that hold others back. */
static uint8_t inhibiting(const struct vpic *pic, const struct vpic_chip *chip)
{
	uint8_t isr = chip->isr;

	if (chip->special_mask)
		isr &= ~chip->imr;
	if (chip->special_fully_nested && is_master(pic, chip))
		isr &= ~BIT(PC_IRQ_CASCADE); /* the slave has an order of its own */
	return isr;
}

/* Input that this chip requests service for, -1 for none; none in the middle of initialisation. */
static int request(const struct vpic *pic, const struct vpic_chip *chip)
{
	uint8_t unmasked = chip->irr & ~chip->imr;
	unsigned wanted;

	if (likely(unmasked == 0) || chip->next_icw != 0)
		return -1;
	wanted = first_priority(chip, unmasked);
	if (wanted >= first_priority(chip, inhibiting(pic, chip)))
		return -1;
	return (int)input_at(chip, wanted);
}

static void set_input(struct vpic_chip *chip, unsigned input, bool level)
{
	uint8_t bit = (uint8_t)BIT(input);

	if (!level)
		chip->irr &= ~bit;
	else if ((level_inputs(chip) | ~chip->lines) & bit)
		chip->irr |= bit;
	chip->lines = level ? chip->lines | bit : chip->lines & ~bit;
}

static void rotate_below(struct vpic_chip *chip, unsigned input) { chip->top = (uint8_t)((input + 1) % INPUTS); }

/* The chip's part of an acknowledge cycle or a poll; @input is what it requested. */
static void take(struct vpic_chip *chip, unsigned input)
{
	uint8_t bit = (uint8_t)BIT(input);

	if (!(level_inputs(chip) & bit))
		chip->irr &= ~bit;
	if (!chip->auto_eoi)
		chip->isr |= bit;
	else if (chip->rotate_auto_eoi)
		rotate_below(chip, input);
}

/* ---- the pair ---- */

/* Carries the slave's request to the master and the master's to the processor. */
static void update(struct vpic *pic)
{
	bool intr;

	set_input(&pic->chips[0], PC_IRQ_CASCADE, request(pic, &pic->chips[1]) >= 0);
	intr = request(pic, &pic->chips[0]) >= 0;
	if (intr == pic->intr)
		return;
	__atomic_store_n(&pic->intr, intr, __ATOMIC_RELAXED);
	pic->output(pic->ctx, intr);
}

void vpic_set(struct vpic *pic, unsigned irq, bool level)
{
	struct vpic_chip *chip;

	ASSERT(irq < PC_ISA_IRQS && irq != PC_IRQ_CASCADE);
	chip = &pic->chips[irq / INPUTS];
	set_input(chip, irq % INPUTS, level);
	if (!(chip->imr & BIT(irq % INPUTS))) /* a guest that uses the IO-APIC has all masked */
		update(pic);
}

/* Acknowledges at @chip; the input, or the spurious one. */
static unsigned ack_chip(struct vpic *pic, struct vpic_chip *chip)
{
	int input = request(pic, chip);

	if (input < 0)
		return SPURIOUS;
	take(chip, (unsigned)input);
	return (unsigned)input;
}

uint8_t vpic_ack(struct vpic *pic)
{
	struct vpic_chip *master = &pic->chips[0], *slave = &pic->chips[1];
	bool any = request(pic, master) >= 0;
	unsigned input = ack_chip(pic, master);
	uint8_t vector = (uint8_t)(master->base + input);

	if (any && input == PC_IRQ_CASCADE) {
		vector = (uint8_t)(slave->base + ack_chip(pic, slave));
		/* INT falls between two requests, so that the master sees an edge for each. */
		set_input(master, PC_IRQ_CASCADE, false);
	}
	if (pic->intr) {
		__atomic_store_n(&pic->intr, false, __ATOMIC_RELAXED);
		pic->output(pic->ctx, false);
	}
	update(pic);
	return vector;
}

/* ---- command words ---- */

static void write_icw1(struct vpic_chip *chip, uint8_t value)
{
	*chip = (struct vpic_chip){
		.lines = chip->lines, .elcr = chip->elcr, .base = chip->base, .icw1 = value, .next_icw = 2};
	/* The edge detectors start anew: what is high must fall first. Levels count as they are. */
	chip->irr = chip->lines & level_inputs(chip);
}

static void end_of_interrupt(struct vpic_chip *chip, bool rotate)
{
	/* In special mask mode a masked in-service input is not what a non-specific EOI means. */
	unsigned priority = first_priority(chip, chip->special_mask ? chip->isr & ~chip->imr : chip->isr);
	unsigned input = input_at(chip, priority);

	if (priority == NONE)
		return;
	chip->isr &= ~BIT(input);
	if (rotate)
		rotate_below(chip, input);
}

static void write_ocw2(struct vpic_chip *chip, uint8_t value)
{
	unsigned input = value % INPUTS;

	switch (value >> 5) {
	case OCW2_EOI:
	case OCW2_ROTATE_EOI:
		end_of_interrupt(chip, value >> 5 == OCW2_ROTATE_EOI);
		break;
	case OCW2_ROTATE_SPECIFIC_EOI:
		rotate_below(chip, input);
		chip->isr &= ~BIT(input);
		break;
	case OCW2_SPECIFIC_EOI:
		chip->isr &= ~BIT(input);
		break;
	case OCW2_SET_PRIORITY:
		rotate_below(chip, input);
		break;
	case OCW2_SET_ROTATE_AUTO:
	case OCW2_CLEAR_ROTATE_AUTO:
		chip->rotate_auto_eoi = value >> 5 == OCW2_SET_ROTATE_AUTO;
		break;
	default: /* OCW2_NOP */
		break;
	}
}

static void write_ocw3(struct vpic_chip *chip, uint8_t value)
{
	if (value & OCW3_SET_SPECIAL_MASK)
		chip->special_mask = value & OCW3_SPECIAL_MASK;
	if (value & OCW3_READ)
		chip->read_isr = value & OCW3_READ_ISR;
	chip->poll = value & OCW3_POLL;
}

/* A0 = 1: the initialisation words in order, then the mask. */
static void write_data(struct vpic_chip *chip, uint8_t value)
{
	switch (chip->next_icw) {
	case 2:
		chip->base = value & ICW2_BASE;
		if (!(chip->icw1 & ICW1_SINGLE))
			chip->next_icw = 3;
		else
			chip->next_icw = chip->icw1 & ICW1_IC4 ? 4 : 0;
		break;
	case 3:
		chip->next_icw = chip->icw1 & ICW1_IC4 ? 4 : 0;
		break;
	case 4:
		chip->auto_eoi = value & ICW4_AUTO_EOI;
		chip->special_fully_nested = value & ICW4_SPECIAL_FULLY_NESTED;
		chip->next_icw = 0;
		break;
	default:
		chip->imr = value;
		break;
	}
}

static void write_chip(struct vpic_chip *chip, bool a0, uint8_t value)
{
	if (a0)
		write_data(chip, value);
	else if (value & ICW1)
		write_icw1(chip, value);
	else if (value & OCW3)
		write_ocw3(chip, value);
	else
		write_ocw2(chip, value);
}

static uint8_t read_chip(struct vpic *pic, struct vpic_chip *chip, bool a0)
{
	int input;

	if (chip->poll) {
		chip->poll = false;
		input = request(pic, chip);
		if (input < 0)
			return 0;
		take(chip, (unsigned)input);
		update(pic);
		return (uint8_t)(POLL_REQUEST | input);
	}
	if (a0)
		return chip->imr;
	return chip->read_isr ? chip->isr : chip->irr;
}

static void write_elcr(struct vpic_chip *chip, uint8_t value)
{
	uint8_t became_level = value & ~chip->elcr;

	chip->elcr = value;
	chip->irr |= chip->lines & became_level;
}

/* ---- ports ---- */

static uint8_t read_byte(struct vpic *pic, uint64_t offset)
{
	if (offset >= VPIC_ELCR)
		return pic->chips[offset - VPIC_ELCR].elcr;
	return read_chip(pic, &pic->chips[offset / 2], offset % 2);
}

static void write_byte(struct vpic *pic, uint64_t offset, uint8_t value)
{
	if (offset >= VPIC_ELCR) {
		unsigned n = (unsigned)(offset - VPIC_ELCR);

		write_elcr(&pic->chips[n], value & elcr_writable[n]);
	} else {
		write_chip(&pic->chips[offset / 2], offset % 2, value);
	}
	update(pic);
}

static uint64_t port_read(struct device *dev, uint64_t offset, unsigned size)
{
	struct vpic *pic = container_of(dev, struct vpic, dev);
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)read_byte(pic, offset + i) << 8 * i;
	return value;
}

static void port_write(struct device *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct vpic *pic = container_of(dev, struct vpic, dev);

	for (unsigned i = 0; i < size; i++)
		write_byte(pic, offset + i, (uint8_t)(value >> 8 * i));
}

/* Everything is masked until software has initialised the pair: there is no vector before that. */
static void reset(struct device *dev)
{
	struct vpic *pic = container_of(dev, struct vpic, dev);

	for (unsigned i = 0; i < ARRAY_SIZE(pic->chips); i++)
		pic->chips[i] = (struct vpic_chip){.imr = 0xff};
	update(pic);
}

static const struct device_ops ops = {.name = "pic", .read = port_read, .write = port_write, .reset = reset};

void vpic_init(struct vpic *pic, void (*output)(void *ctx, bool level), void *ctx)
{
	*pic = (struct vpic){.dev = {.ops = &ops}, .output = output, .ctx = ctx};
	reset(&pic->dev);
}
