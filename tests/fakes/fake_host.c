/* SPDX-License-Identifier: Apache-2.0 */
/* See fake_host.h. Component sizes and offsets of leaf 0xd are those of real processors (SDM 1:13.4). */
#include "tests/fakes/fake_host.h"

#include <string.h>

#include "lib/assert.h"
#include "lib/x86_regs.h"
#include "tests/fakes/hand_clock.h"

struct fake_host fake_host;

static void irq(uint8_t vector)
{
	fake_host.irqs++;
	fake_host.last_vector = vector;
	if (fake_host.on_irq)
		fake_host.on_irq(vector);
}

static void nmi(void) { fake_host.nmis++; }

static void poll(void)
{
	fake_host.polls++;
	if (fake_host.on_poll)
		fake_host.on_poll();
}

static void timers_changed(void) { fake_host.reprogrammed++; }
static void notify(void) { fake_host.notifies++; }
static struct host_cpu *this_cpu(void) { return &fake_host.cpu; }
static struct host_cpu *cpu_at(unsigned i) { return i == 0 ? &fake_host.cpu : NULL; }

static void cpu_place(unsigned i, struct host_place *out)
{
	*out = (struct host_place){.apic_id = 16 + i, .core = (uint16_t)i};
}

static unsigned long mask(void) { return fake_host.mask_depth++; }

static void unmask(unsigned long state)
{
	ASSERT(fake_host.mask_depth == state + 1); /* sections nest */
	fake_host.mask_depth = (unsigned)state;
	fake_host.unmasks += state == 0;
}

static uint64_t random_bits(void)
{
	static uint64_t state = 0x9e3779b97f4a7c15ull;

	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return state;
}

struct component {
	unsigned bit;
	uint32_t size, offset, flags;
};

static const struct component components[] = {
	{2, 256, 576, 0},   {3, 64, 960, 0},    {4, 64, 1024, 0},   {5, 64, 1088, 0},
	{6, 512, 1152, 0},  {7, 1024, 1664, 0}, {9, 8, 2688, 0},    {17, 64, 2752, 2},
	{18, 8192, 2816, 6},
};

static void xsave_leaf(uint32_t subleaf, uint32_t out[4])
{
	if (subleaf == 0) {
		out[0] = 0x602ff;
		out[1] = out[2] = 11008;
	} else if (subleaf == 1) {
		out[0] = 0x1f;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(components); i++) {
		if (components[i].bit == subleaf) {
			out[0] = components[i].size;
			out[1] = components[i].offset;
			out[2] = components[i].flags;
		}
	}
}

void fake_host_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	memset(out, 0, 16);
	switch (leaf) {
	case CPUID_VENDOR:
		out[0] = 0x20;
		memcpy(&out[1], "Genu", 4);
		memcpy(&out[3], "ineI", 4);
		memcpy(&out[2], "ntel", 4);
		break;
	case CPUID_FEATURES:
		out[0] = 0x706e5;
		out[1] = 0x07100800;
		out[2] = out[3] = UINT32_MAX;
		break;
	case CPUID_CACHE:
		if (subleaf < 4)
			out[0] = 0xfc004000u | (subleaf + 1) << 5 | (subleaf % 3 + 1);
		break;
	case CPUID_EXTENDED_FEATURES:
		out[0] = subleaf == 0 ? 2 : UINT32_MAX;
		out[1] = out[2] = out[3] = UINT32_MAX;
		break;
	case CPUID_XSAVE:
		xsave_leaf(subleaf, out);
		break;
	case CPUID_EXT_MAX:
		out[0] = CPUID_EXT_ADDRESS;
		break;
	case CPUID_EXT_ADDRESS:
		out[0] = 48 << 8 | 40;
		break;
	default: /* what is not on the list must not get through */
		out[0] = out[1] = out[2] = out[3] = UINT32_MAX;
	}
}

void fake_host_init(uint64_t hz)
{
	const struct clock *clock = hand_clock_init(hz);

	memset(&fake_host, 0, sizeof fake_host);
	host_cpu_init(&fake_host.cpu, 0, fake_host.slots, FAKE_HOST_TIMERS);
	fake_host.ops = (struct host_ops){
		.clock = clock,
		.this_cpu = this_cpu,
		.cpu_at = cpu_at,
		.cpu_place = cpu_place,
		.irq = irq,
		.nmi = nmi,
		.poll = poll,
		.timers_changed = timers_changed,
		.notify = notify,
		.mask = mask,
		.unmask = unmask,
		.random = random_bits,
		.cpuid = fake_host_cpuid,
	};
}

void fake_host_advance(uint64_t ticks)
{
	uint64_t now = fake_host.ops.clock->ticks(), end = now + ticks;

	while (fake_host.cpu.timers.next <= end) {
		uint64_t next = fake_host.cpu.timers.next > now ? fake_host.cpu.timers.next : now;

		hand_clock_set(next);
		timerq_run(&fake_host.cpu.timers, next);
	}
	hand_clock_set(end);
}
