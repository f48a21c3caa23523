/* SPDX-License-Identifier: Apache-2.0 */
/* See vm_nic.h. As with disks, a new value has to pass the definition's own rules, on a copy. */
#include "guest/vm_nic.h"

#include <string.h>

#include "guest/machine.h"
#include "guest/network.h"
#include "guest/platform.h"
#include "guest/vm_virtio.h"
#include "lib/assert.h"
#include "lib/bits.h"

const struct vm_nic *vm_nic_at(const struct vm_nic_place *p)
{
	ASSERT(p->index < p->vm->config.nic_count);
	return &p->vm->config.nics[p->index];
}

unsigned vm_nic_index(const struct vm_config *cfg, const char *name)
{
	unsigned i = 0;

	while (i < cfg->nic_count && strcmp(cfg->nics[i].name, name) != 0)
		i++;
	return i;
}

const struct vm_nic_place *vm_nic_find(const struct vm *vm, const char *name, size_t len)
{
	for (unsigned i = 0; i < vm->config.nic_count; i++) {
		const char *own = vm->config.nics[i].name;

		if (strlen(own) == len && memcmp(own, name, len) == 0)
			return &vm->nic_places[i];
	}
	return NULL;
}

/* A VM that is not built has nobody to tell: its interfaces are opened with what the definition says then. */
static void changed(struct vm *vm, unsigned index)
{
	struct vm_virtio *v = platform_virtio(vm);

	if (v)
		vm_virtio_renumber_nic(v, index);
}

void vm_nics_changed(struct vm *vm)
{
	for (unsigned i = 0; i < vm->config.nic_count; i++)
		changed(vm, i);
}

/* ---- counters ---- */

/* What the table has: vm_nic_figures, and the sums of device and port. */
struct nic_figures_shown {
	struct vm_nic_figures is;
	uint64_t tx_drops[NET_DROPS]; /* at the device, and at the port */
};

void vm_nics_keep_figures(struct vm *vm)
{
	struct vm_virtio *v = platform_virtio(vm);

	for (unsigned i = 0; v && i < vm->config.nic_count; i++) {
		struct vm_nic_figures *kept = &vm->last_nics[i];

		vm_virtio_nic_figures(v, i, kept);
		memcpy(vm->last_nic_names[i], vm->config.nics[i].name, VM_NIC_NAME_MAX);
		kept->held = kept->up = 0;
	}
	for (unsigned i = vm->config.nic_count; v && i < VM_NICS_MAX; i++)
		vm->last_nic_names[i][0] = '\0';
}

/* Of a VM that is not built: what the interface of that name did in its last start, wherever it was then. */
static void last_figures(const struct vm_nic_place *p, struct vm_nic_figures *out)
{
	const char *name = vm_nic_at(p)->name;

	for (unsigned i = 0; i < VM_NICS_MAX; i++) {
		if (strcmp(p->vm->last_nic_names[i], name) != 0)
			continue;
		*out = p->vm->last_nics[i];
		return;
	}
}

static void figures(const void *object, void *out)
{
	const struct vm_nic_place *p = object;
	struct vm_virtio *v = platform_virtio(p->vm);
	struct nic_figures_shown *f = out;

	memset(f, 0, sizeof *f);
	if (v)
		vm_virtio_nic_figures(v, p->index, &f->is);
	else
		last_figures(p, &f->is);
	for (unsigned i = 0; i < NET_DROPS; i++)
		f->tx_drops[i] = f->is.net.tx_drops[i] + f->is.port.sent_drops[i];
}

#define NIC(field, name, kind, measure, help) COUNTER(struct nic_figures_shown, field, name, kind, measure, help)

static const struct counter counter_rows[] = {
	NIC(is.port.sent_frames, "tx.frames", COUNTER_TOTAL, MEASURE_COUNT,
	    "Frames that the guest sent in this start; one to be cut is one"),
	NIC(is.port.sent_bytes, "tx.bytes", COUNTER_TOTAL, MEASURE_BYTES, "And their bytes, with Ethernet's headers"),
	NIC(is.port.sent_groups, "tx.groups", COUNTER_TOTAL, MEASURE_COUNT, "Of them, those to groups"),
	COUNTER_OF(struct nic_figures_shown, tx_drops, "tx.drops", COUNTER_TOTAL, MEASURE_COUNT, &network_drop_reasons,
		   "Frames of the guest that went no further because of what they are, or of where they go, by reason"),
	NIC(is.net.bad_headers, "tx.bad_headers", COUNTER_TOTAL, MEASURE_COUNT,
	    "What the guest gave that was no frame, not even a bad one"),
	NIC(is.port.throttled, "tx.throttled", COUNTER_TOTAL, MEASURE_COUNT, "Times that the guest waited for its own rate"),
	NIC(is.net.tx_interrupts, "tx.interrupts_sent", COUNTER_TOTAL, MEASURE_COUNT,
	    "Interrupts that told the guest what has been sent"),
	NIC(is.port.received_frames, "rx.frames", COUNTER_TOTAL, MEASURE_COUNT, "Frames that the guest was given"),
	NIC(is.port.received_bytes, "rx.bytes", COUNTER_TOTAL, MEASURE_BYTES, "And their bytes, with Ethernet's headers"),
	NIC(is.port.received_groups, "rx.groups", COUNTER_TOTAL, MEASURE_COUNT, "Of them, those to groups"),
	COUNTER_OF(struct nic_figures_shown, is.port.received_drops, "rx.drops", COUNTER_TOTAL, MEASURE_COUNT,
		   &network_drop_reasons, "Frames for the guest that it could not be given, by reason"),
	NIC(is.net.rx_filtered, "rx.filtered", COUNTER_TOTAL, MEASURE_COUNT, "Frames that the guest does not want to see"),
	NIC(is.net.rx_copied, "rx.copied", COUNTER_TOTAL, MEASURE_BYTES, "What was copied into the guest's memory"),
	NIC(is.net.rx_cut, "rx.cut", COUNTER_TOTAL, MEASURE_COUNT,
	    "Frames that were cut because the guest's driver does not do it"),
	NIC(is.net.rx_summed, "rx.summed", COUNTER_TOTAL, MEASURE_COUNT,
	    "Frames whose checksums were computed because the guest's driver asks for them"),
	NIC(is.net.rx_interrupts, "rx.interrupts_sent", COUNTER_TOTAL, MEASURE_COUNT,
	    "Interrupts that told the guest what has come"),
	NIC(is.port.waits, "rx.waits", COUNTER_TOTAL, MEASURE_COUNT, "Times that somebody waited for the guest's buffers"),
	NIC(is.port.stalls, "rx.stalls", COUNTER_TOTAL, MEASURE_COUNT, "Times that the patience with the guest ended"),
	NIC(is.wire_frames, "uplink.frames", COUNTER_TOTAL, MEASURE_COUNT, "Frames that went by the uplink, as they went"),
	NIC(is.wire_bytes, "uplink.bytes", COUNTER_TOTAL, MEASURE_BYTES, "And their bytes"),
	NIC(is.wire_queued, "uplink.queued", COUNTER_TOTAL, MEASURE_TICKS,
	    "Time of all of them together until their turn came"),
	NIC(is.wire_throttled, "uplink.throttled", COUNTER_TOTAL, MEASURE_TICKS,
	    "Of that, until a limit let them: the interface's own or a pool's"),
	NIC(is.held, "uplink.held", COUNTER_GAUGE, MEASURE_COUNT, "Frames that wait for their turn now"),
	NIC(is.up, "up", COUNTER_GAUGE, MEASURE_COUNT, "Whether the guest sees a link: 1 or 0"),
	NIC(is.port.learned, "addresses.learned", COUNTER_TOTAL, MEASURE_COUNT, "Addresses that were learned behind it"),
	NIC(is.port.moved, "addresses.moved", COUNTER_TOTAL, MEASURE_COUNT,
	    "Of them, those that were another port's before"),
};

const struct counter_table vm_nic_counters = {
	.group = VM_NIC_GROUP, .rows = counter_rows, .count = ARRAY_SIZE(counter_rows),
	.figures_bytes = sizeof(struct nic_figures_shown), .figures = figures,
};

_Static_assert(sizeof(struct nic_figures_shown) <= COUNTER_FIGURES_MAX, "registries have that much room");

/* ---- knobs ---- */

static struct vm_nic *nic_of(const struct vm_nic_place *p) { return &p->vm->config.nics[p->index]; }

static enum status check_with(const struct vm_nic_place *p, void (*change)(struct vm_nic *nic, uint64_t value),
			      uint64_t value, struct error *err)
{
	static struct vm_config after; /* the control task's; too large for its stack */

	after = p->vm->config;
	change(&after.nics[p->index], value);
	return vm_config_check(&after, err);
}

/* The functions of the knob @name that is @field of an interface. */
#define NIC_KNOB(name, field, type)                                                                         \
	static uint64_t get_##name(const void *p) { return nic_of(p)->field; }                                 \
	static void change_##name(struct vm_nic *nic, uint64_t value) { nic->field = (type)value; }            \
	static enum status check_##name(const void *p, uint64_t value, struct error *err)                       \
	{                                                                                                      \
		return check_with(p, change_##name, value, err);                                                 \
	}                                                                                                      \
	static void set_##name(void *object, uint64_t value)                                                    \
	{                                                                                                      \
		struct vm_nic_place *p = object;                                                                 \
                                                                                                           \
		change_##name(nic_of(p), value);                                                                 \
		changed(p->vm, p->index);                                                                        \
	}

NIC_KNOB(shares, numbers.shares, uint32_t)
NIC_KNOB(reservation, numbers.reservation, uint64_t)
NIC_KNOB(limit, numbers.limit, uint64_t)
NIC_KNOB(rate, rate, uint64_t)
NIC_KNOB(storm, storm, uint32_t)
NIC_KNOB(connected, connected, bool)
NIC_KNOB(isolated, isolated, bool)
NIC_KNOB(any_mac, any_mac, bool)
NIC_KNOB(vlan, vlan, uint16_t)
NIC_KNOB(queues, queues, unsigned)
NIC_KNOB(mtu, mtu, uint32_t)
NIC_KNOB(policy, coalesce.policy, unsigned)
NIC_KNOB(iops_min, coalesce.iops_min, uint32_t)
NIC_KNOB(cif_min, coalesce.cif_min, uint32_t)
NIC_KNOB(epoch, coalesce.epoch_ns, uint64_t)
NIC_KNOB(gap, coalesce.gap_ns, uint64_t)

#define KNOB_FUNCTIONS(name) .get = get_##name, .check = check_##name, .set = set_##name

static const struct knob knob_rows[] = {
	{
		.name = "mbps.shares", .type = KNOB_NUMBER, .measure = MEASURE_COUNT, .member = MEMBER_SHARES, .min = 1,
		.max = RLS_SHARES_MAX, .otherwise = RLS_SHARES_DEFAULT, KNOB_FUNCTIONS(shares),
		.help = "Its weight where others want the uplink too",
	},
	{
		.name = "mbps.reservation", .type = KNOB_NUMBER, .measure = MEASURE_RATE, .member = MEMBER_RESERVATION,
		.max = VM_NIC_RATE_MAX, KNOB_FUNCTIONS(reservation),
		.help = "What it gets to send by the uplink in any case, in bytes a second",
	},
	{
		.name = "mbps.limit", .type = KNOB_NUMBER, .measure = MEASURE_RATE, .member = MEMBER_LIMIT,
		.min = VM_NIC_RATE_MIN, .max = VM_NIC_RATE_MAX, .none = true, .otherwise = KNOB_NONE, KNOB_FUNCTIONS(limit),
		.help = "What it gets to send by the uplink at most, in bytes a second",
	},
	{
		.name = "rate", .type = KNOB_NUMBER, .measure = MEASURE_RATE, .max = VM_NIC_RATE_MAX, KNOB_FUNCTIONS(rate),
		.help = "What it may send to anybody, in bytes a second; 0: as fast as it can",
	},
	{
		.name = "storm", .type = KNOB_NUMBER, .measure = MEASURE_COUNT, .max = VM_NIC_STORM_MAX, KNOB_FUNCTIONS(storm),
		.help = "Frames to groups that it may send in a second; 0: any number",
	},
	{
		.name = "connected", .type = KNOB_BOOL, .otherwise = true, KNOB_FUNCTIONS(connected),
		.help = "Whether its cable is plugged in: the guest sees the link",
	},
	{
		.name = "isolated", .type = KNOB_BOOL, KNOB_FUNCTIONS(isolated),
		.help = "Whether it reaches no other interface that is isolated too",
	},
	{
		.name = "any_mac", .type = KNOB_BOOL, KNOB_FUNCTIONS(any_mac),
		.help = "Whether it may send from other addresses than its own",
	},
	{
		.name = "vlan", .type = KNOB_NUMBER, .measure = MEASURE_COUNT, .max = NET_VLAN_MAX, KNOB_FUNCTIONS(vlan),
		.help = "The VLAN that its frames without a tag are in; 0: the network's own",
	},
	{
		.name = "queues", .type = KNOB_NUMBER, .measure = MEASURE_COUNT, .when = KNOB_AT_START,
		.max = VM_NIC_QUEUES_MAX, KNOB_FUNCTIONS(queues),
		.help = "Its queues of each direction; 0: one for each processor of the guest",
	},
	{
		.name = "mtu", .type = KNOB_NUMBER, .measure = MEASURE_COUNT, .when = KNOB_AT_START, .max = NET_MTU_MAX,
		KNOB_FUNCTIONS(mtu), .help = "The largest packet that the guest is told of; 0: the network's",
	},
	/* Of io/coalesce.h; the defaults are those of coalesce_settings_init(). */
	{
		.name = "interrupts.policy", .type = KNOB_CHOICE, .names = coalesce_policy_names, .otherwise = COALESCE_VIC,
		KNOB_FUNCTIONS(policy),
		.help = "Which received frames interrupt: all (off), by frames behind them and rate (vic), or by "
			"the former alone (cif)",
	},
	{
		.name = "interrupts.frames_min", .type = KNOB_NUMBER, .measure = MEASURE_COUNT, .max = COALESCE_IOPS_MIN_MAX,
		.otherwise = COALESCE_IOPS_MIN_DEFAULT, KNOB_FUNCTIONS(iops_min),
		.help = "Frames a second below which each interrupts, with vic",
	},
	{
		.name = "interrupts.cif_min", .type = KNOB_NUMBER, .measure = MEASURE_COUNT, .min = 2,
		.max = COALESCE_CIF_MIN_MAX, .otherwise = COALESCE_CIF_MIN_DEFAULT, KNOB_FUNCTIONS(cif_min),
		.help = "Frames on their way below which each interrupts",
	},
	{
		.name = "interrupts.epoch", .type = KNOB_NUMBER, .measure = MEASURE_NS, .min = COALESCE_EPOCH_MIN_NS,
		.max = COALESCE_EPOCH_MAX_NS, .otherwise = COALESCE_EPOCH_DEFAULT_NS, KNOB_FUNCTIONS(epoch),
		.help = "How often the ratio is chosen anew",
	},
	{
		.name = "interrupts.gap", .type = KNOB_NUMBER, .measure = MEASURE_NS, .max = COALESCE_GAP_MAX_NS,
		.otherwise = COALESCE_GAP_DEFAULT_NS, KNOB_FUNCTIONS(gap),
		.help = "How far apart a processor of the guest on another CPU is made to look while frames come",
	},
};

static bool given(const void *object, size_t row, const char **where)
{
	const struct vm_nic_place *p = object;

	*where = p->vm->config.origin;
	return (vm_nic_at(p)->given & BIT(row)) != 0;
}

const struct knob_table vm_nic_knobs = {
	.group = VM_NIC_GROUP, .rows = knob_rows, .count = ARRAY_SIZE(knob_rows), .given = given,
};

_Static_assert(ARRAY_SIZE(knob_rows) <= 32, "vm_nic.given has a bit for each");
