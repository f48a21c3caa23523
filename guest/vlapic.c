/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local APIC: requests, priorities, EOI and interrupt messages (SDM 3A 11.6,
 * 11.8). The page is the state; a one-byte summary of each 256-bit register says
 * which of its words are not 0, so that finding the highest vector takes two
 * bit scans and no loop. An engine that delivers from the page by itself makes
 * the IRR and ISR summaries stale: then the words are read instead.
 */
#include "guest/vlapic_internal.h"

#include "lib/assert.h"

#define WORDS 8            /* of 32 vectors */
#define CLASS(priority) ((priority) >> 4)
#define DEST_BROADCAST 0xffffffffu
#define XAPIC_BROADCAST 0xffu
#define ICR_SHORTHAND_MASK MASK(19, 18)

/* ---- vectors in IRR, ISR, TMR ---- */

static uint32_t word_reg(uint32_t base, unsigned word) { return base + word * APIC_REG_STEP; }

static void vector_set(struct vlapic *l, uint32_t base, uint8_t *words, uint8_t vector)
{
	uint32_t reg = word_reg(base, vector >> 5);

	vlapic_set_reg(l, reg, vlapic_reg(l, reg) | 1u << (vector & 31));
	*words |= (uint8_t)(1u << (vector >> 5));
}

static void vector_clear(struct vlapic *l, uint32_t base, uint8_t *words, uint8_t vector)
{
	uint32_t reg = word_reg(base, vector >> 5);
	uint32_t left = vlapic_reg(l, reg) & ~(1u << (vector & 31));

	vlapic_set_reg(l, reg, left);
	if (left == 0)
		*words &= ~(1u << (vector >> 5));
}

static bool vector_test(const struct vlapic *l, uint32_t base, uint8_t vector)
{
	return vlapic_reg(l, word_reg(base, vector >> 5)) >> (vector & 31) & 1;
}

static int highest_in(const struct vlapic *l, uint32_t base, unsigned word)
{
	return (int)(word * 32 + bit_highest(vlapic_reg(l, word_reg(base, word))));
}

/* Without the summary: the words from the top, if there is a vector at all. Mostly none is in service. */
static __attribute__((noinline)) int highest_by_scan(const struct vlapic *l, uint32_t base)
{
	uint32_t any = 0;

#pragma GCC unroll 8
	for (unsigned word = 0; word < WORDS; word++)
		any |= vlapic_reg(l, word_reg(base, word));
	if (any == 0)
		return -1;
	for (unsigned word = WORDS; word-- > 0;)
		if (vlapic_reg(l, word_reg(base, word)) != 0)
			return highest_in(l, base, word);
	return -1;
}

static inline int highest(const struct vlapic *l, uint32_t base, uint8_t words)
{
	if (unlikely(l->hw_delivery))
		return highest_by_scan(l, base);
	return words == 0 ? -1 : highest_in(l, base, bit_highest(words));
}

int vlapic_highest_irr(const struct vlapic *l) { return highest(l, APIC_REG_IRR, l->irr_words); }
int vlapic_highest_isr(const struct vlapic *l) { return highest(l, APIC_REG_ISR, l->isr_words); }

/* If nothing is requested but @vector, the words' sum is its bit. */
bool vlapic_others_wait(const struct vlapic *l, uint8_t vector)
{
	uint64_t sum = 0;

#pragma GCC unroll 8
	for (unsigned word = 0; word < WORDS; word++)
		sum += vlapic_reg(l, word_reg(APIC_REG_IRR, word));
	return sum != 0 && (sum != 1u << (vector & 31) || !vector_test(l, APIC_REG_IRR, vector));
}

/* ---- priority ---- */

uint8_t vlapic_ppr(const struct vlapic *l)
{
	uint8_t tpr = (uint8_t)vlapic_reg(l, APIC_REG_TPR);
	int isr = vlapic_highest_isr(l);

	if (isr < 0 || CLASS(tpr) >= CLASS(isr))
		return tpr;
	return (uint8_t)(isr & 0xf0);
}

int vlapic_deliverable(const struct vlapic *l)
{
	int irr;

	if (!vlapic_enabled(l))
		return -1;
	irr = vlapic_highest_irr(l);
	if (irr < 0 || CLASS(irr) <= CLASS(vlapic_ppr(l)))
		return -1;
	return irr;
}

void vlapic_accept(struct vlapic *l, uint8_t vector)
{
	ASSERT(vector_test(l, APIC_REG_IRR, vector));
	vector_clear(l, APIC_REG_IRR, &l->irr_words, vector);
	vector_set(l, APIC_REG_ISR, &l->isr_words, vector);
}

bool vlapic_unaccept(struct vlapic *l, uint8_t vector)
{
	if (!vector_test(l, APIC_REG_ISR, vector))
		return false;
	vector_clear(l, APIC_REG_ISR, &l->isr_words, vector);
	vector_set(l, APIC_REG_IRR, &l->irr_words, vector);
	return true;
}

int vlapic_take(struct vlapic *l)
{
	unsigned priority = vlapic_reg(l, APIC_REG_TPR) & 0xff, word, bit;
	uint32_t left;

	ASSERT(!l->hw_delivery);
	if (unlikely(!vlapic_enabled(l) || l->irr_words == 0))
		return -1;
	/* As vlapic_ppr(), but mostly nothing is in service. */
	if (unlikely(l->isr_words != 0)) {
		word = bit_highest(l->isr_words);
		priority = MAX(priority, (unsigned)highest_in(l, APIC_REG_ISR, word));
	}
	word = bit_highest(l->irr_words);
	left = vlapic_reg(l, word_reg(APIC_REG_IRR, word));
	bit = bit_highest(left);
	/* A class is half a word. */
	if (unlikely(word * 2 + bit / 16 <= CLASS(priority)))
		return -1;
	left ^= 1u << bit;
	vlapic_set_reg(l, word_reg(APIC_REG_IRR, word), left);
	if (left == 0)
		l->irr_words ^= (uint8_t)(1u << word);
	vlapic_set_reg(l, word_reg(APIC_REG_ISR, word), vlapic_reg(l, word_reg(APIC_REG_ISR, word)) | 1u << bit);
	l->isr_words |= (uint8_t)(1u << word);
	return (int)(word * 32 + bit);
}

void vlapic_eoi(struct vlapic *l, int hw_vector)
{
	int vector = hw_vector;

	if (hw_vector < 0) {
		vector = vlapic_highest_isr(l);
		if (vector < 0)
			return;
		vector_clear(l, APIC_REG_ISR, &l->isr_words, (uint8_t)vector);
		/* What was held back by this vector may go now; without requests nothing can. */
		if (l->irr_words != 0 || l->hw_delivery)
			l->ops->changed(l->ctx);
	}
	if (unlikely(l->tmr_words != 0) && vector_test(l, APIC_REG_TMR, (uint8_t)vector) &&
	    !(vlapic_reg(l, APIC_REG_SVR) & APIC_SVR_SUPPRESS_EOI))
		l->ops->eoi(l->ctx, (uint8_t)vector);
}

void vlapic_eoi_exits(const struct vlapic *l, uint64_t bitmap[4])
{
	for (unsigned i = 0; i < 4; i++)
		bitmap[i] = 0;
	if (l->tmr_words == 0)
		return;
	for (unsigned i = 0; i < WORDS; i++)
		bitmap[i / 2] |= (uint64_t)vlapic_reg(l, word_reg(APIC_REG_TMR, i)) << (i % 2 * 32);
}

uint8_t vlapic_get_cr8(const struct vlapic *l) { return (uint8_t)FIELD(vlapic_reg(l, APIC_REG_TPR), 7, 4); }

void vlapic_set_cr8(struct vlapic *l, uint8_t cr8)
{
	vlapic_set_reg(l, APIC_REG_TPR, (uint32_t)(cr8 & 0xf) << 4);
	l->ops->changed(l->ctx);
}

/* ---- requests ---- */

void vlapic_post(struct vlapic *l, uint8_t vector, bool level)
{
	if (!vlapic_enabled(l))
		return;
	if (vector < VECTORS_ILLEGAL) {
		vlapic_error(l, APIC_ESR_RECV_ILLEGAL);
		return;
	}
	vector_set(l, APIC_REG_IRR, &l->irr_words, vector);
	if (likely(!level && l->tmr_words == 0)) {
		l->ops->posted(l->ctx, vector);
		return;
	}
	if (level)
		vector_set(l, APIC_REG_TMR, &l->tmr_words, vector);
	else
		vector_clear(l, APIC_REG_TMR, &l->tmr_words, vector);
	l->ops->changed(l->ctx);
}

void vlapic_receive(struct vlapic *l, uint64_t delivery, uint8_t vector, bool level)
{
	switch (delivery) {
	case APIC_DELIVERY_FIXED:
	case APIC_DELIVERY_LOWEST:
		vlapic_post(l, vector, level);
		break;
	case APIC_DELIVERY_NMI:
		l->ops->nmi(l->ctx);
		break;
	case APIC_DELIVERY_INIT:
		l->ops->init(l->ctx);
		break;
	case APIC_DELIVERY_STARTUP:
		l->ops->startup(l->ctx, vector);
		break;
	default: /* SMI: there is no SMM. ExtINT: comes by LINT0 alone. The rest is reserved. */
		break;
	}
}

void vlapic_error(struct vlapic *l, uint32_t bit)
{
	if (l->errors & bit)
		return;
	l->errors |= bit;
	vlapic_fire_lvt(l, APIC_REG_LVT_ERROR);
}

void vlapic_fire_lvt(struct vlapic *l, uint32_t reg)
{
	uint32_t lvt = vlapic_reg(l, reg);
	uint64_t delivery = lvt & APIC_LVT_DELIVERY_MASK;

	if (lvt & APIC_LVT_MASKED)
		return;
	if (likely(delivery == APIC_DELIVERY_FIXED))
		vlapic_post(l, (uint8_t)lvt, false);
	else if (delivery == APIC_DELIVERY_EXTINT)
		l->ops->changed(l->ctx); /* the vcpu asks the 8259 */
	else
		vlapic_receive(l, delivery, (uint8_t)lvt, false);
}

/* Without an APIC the two pins are the processor's INTR and NMI (SDM 3A 11.4.3). */
void vlapic_local_pin(struct vlapic *l, unsigned pin)
{
	ASSERT(pin < 2);
	if (l->mode != VLAPIC_DISABLED)
		vlapic_fire_lvt(l, pin == 0 ? APIC_REG_LVT_LINT0 : APIC_REG_LVT_LINT1);
	else if (pin == 0)
		l->ops->changed(l->ctx);
	else
		l->ops->nmi(l->ctx);
}

/* ---- destinations and IPIs ---- */

/* SDM 3A 11.6.2.2: flat compares eight bits, cluster compares four and needs the cluster equal. */
static bool matches_xapic_logical(uint64_t route, uint8_t mda)
{
	uint8_t ldr = (uint8_t)(route >> 56);

	if (mda == XAPIC_BROADCAST)
		return true;
	if (route & VLAPIC_ROUTE_FLAT)
		return ldr & mda;
	return CLASS(ldr) == CLASS(mda) && (ldr & mda & 0xf);
}

static uint64_t route_of(const struct vlapic *l) { return __atomic_load_n(&l->route, __ATOMIC_RELAXED); }

void vlapic_publish(struct vlapic *l)
{
	uint64_t route = (uint64_t)l->mode | (uint64_t)vlapic_reg(l, APIC_REG_LDR) << 32;

	if (l->mode != VLAPIC_DISABLED && (vlapic_reg(l, APIC_REG_SVR) & APIC_SVR_ENABLE))
		route |= VLAPIC_ROUTE_ENABLED;
	if (vlapic_reg(l, APIC_REG_DFR) >> 28 == 0xf)
		route |= VLAPIC_ROUTE_FLAT;
	__atomic_store_n(&l->route, route, __ATOMIC_RELAXED);
}

bool vlapic_listens(const struct vlapic *l) { return route_of(l) & VLAPIC_ROUTE_ENABLED; }

bool vlapic_matches(const struct vlapic *l, uint32_t dest, bool logical)
{
	uint64_t route = route_of(l);
	uint32_t ldr = (uint32_t)(route >> 32);

	switch ((enum vlapic_mode)(route & VLAPIC_ROUTE_MODE)) {
	case VLAPIC_XAPIC:
		if (logical)
			return matches_xapic_logical(route, (uint8_t)dest);
		return dest == DEST_BROADCAST || dest == XAPIC_BROADCAST || dest == l->id;
	case VLAPIC_X2APIC:
		if (dest == DEST_BROADCAST || !logical)
			return dest == DEST_BROADCAST || dest == l->id;
		return ldr >> 16 == dest >> 16 && (ldr & dest & 0xffff);
	case VLAPIC_DISABLED:
		break;
	}
	return false;
}

static uint32_t icr_dest(uint64_t icr) { return (uint32_t)(icr >> 32); }

bool vlapic_ipi_reaches(const struct vlapic *l, uint64_t icr, bool itself)
{
	bool on = (route_of(l) & VLAPIC_ROUTE_MODE) != VLAPIC_DISABLED;

	switch (icr & ICR_SHORTHAND_MASK) {
	case APIC_ICR_SELF:
		return itself;
	case APIC_ICR_ALL:
		return on;
	case APIC_ICR_ALL_BUT_SELF:
		return on && !itself;
	default:
		return vlapic_matches(l, icr_dest(icr), icr & APIC_ICR_LOGICAL);
	}
}

static bool ipi_may_reach_others(const struct vlapic *l, uint64_t icr)
{
	uint64_t shorthand = icr & ICR_SHORTHAND_MASK;

	if (shorthand == APIC_ICR_SELF)
		return false;
	return shorthand != 0 || (icr & APIC_ICR_LOGICAL) || icr_dest(icr) != l->id;
}

/* INIT level de-assert: arbitration ids on a bus that has been gone since the Pentium 4 (SDM 3A 11.6.1). */
static bool is_init_deassert(uint64_t icr)
{
	return (icr & (APIC_LVT_DELIVERY_MASK | APIC_ICR_LEVEL | APIC_ICR_ASSERT)) ==
	       (APIC_DELIVERY_INIT | APIC_ICR_LEVEL);
}

void vlapic_send_ipi(struct vlapic *l, uint64_t icr)
{
	uint64_t delivery = icr & APIC_LVT_DELIVERY_MASK;
	bool has_vector = delivery == APIC_DELIVERY_FIXED || delivery == APIC_DELIVERY_LOWEST;

	/* A vector to itself: most of all. */
	if (likely((icr & (ICR_SHORTHAND_MASK | APIC_LVT_DELIVERY_MASK)) == APIC_ICR_SELF && (uint8_t)icr >= VECTORS_ILLEGAL)) {
		vlapic_post(l, (uint8_t)icr, false);
		return;
	}
	if (is_init_deassert(icr))
		return;
	if (has_vector && (uint8_t)icr < VECTORS_ILLEGAL) {
		vlapic_error(l, APIC_ESR_SEND_ILLEGAL);
		return;
	}
	if ((icr & ICR_SHORTHAND_MASK) == APIC_ICR_SELF) {
		vlapic_receive(l, delivery, (uint8_t)icr, false);
		return;
	}
	/* Of all whom a lowest-priority message names one takes it. */
	if (vlapic_ipi_reaches(l, icr, true) && (delivery != APIC_DELIVERY_LOWEST || !ipi_may_reach_others(l, icr)))
		vlapic_receive(l, delivery, (uint8_t)icr, false);
	if (ipi_may_reach_others(l, icr))
		l->ops->ipi(l->ctx, icr);
}

/* ---- life ---- */

void vlapic_init(struct vlapic *l, uint32_t id, void *page, struct timerq *timers, const struct vm_time *time,
		 const struct vlapic_ops *ops, void *ctx)
{
	*l = (struct vlapic){
		.dev = {.ops = &vlapic_mmio_ops},
		.page = page,
		.id = id,
		.mode = VLAPIC_XAPIC,
		.base_msr = APIC_BASE_DEFAULT | APIC_BASE_EN | (id == 0 ? APIC_BASE_BSP : 0),
		.timer_ratio = vlapic_timer_ratio(vm_time_hz(time)),
		.timers = timers,
		.time = time,
		.ops = ops,
		.ctx = ctx,
	};
	vlapic_timer_init(l);
	vlapic_reset_regs(l);
}

void vlapic_reset(struct vlapic *l, bool init)
{
	enum vlapic_mode before = l->mode;

	if (!init) {
		l->mode = VLAPIC_XAPIC;
		l->base_msr = APIC_BASE_DEFAULT | APIC_BASE_EN | (l->id == 0 ? APIC_BASE_BSP : 0);
	}
	vlapic_timer_stop(l);
	vlapic_reset_regs(l);
	if (l->mode != before)
		l->ops->mode_changed(l->ctx, l->mode);
	l->ops->changed(l->ctx);
}
