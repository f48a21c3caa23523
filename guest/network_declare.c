/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The counters and knobs of networks, and the counters of the machine's interfaces. A network's are of all its ports
 * together, also of those that are gone: what one VM has of it is counted at its interface (guest/vm_nic.c).
 */
#include <string.h>

#include "guest/network_internal.h"
#include "lib/assert.h"
#include "lib/bits.h"

/* "none" is no reason. */
static const char *drop_name(unsigned i) { return i == NET_DROP_NONE ? NULL : net_drop_names[i]; }

const struct counter_family network_drop_reasons = {.label = "reason", .count = NET_DROPS, .name = drop_name};

/* ---- a network ---- */

struct network_figures {
	struct net_port_figures port;
	uint64_t drops[NET_DROPS];
	uint64_t ports, captures, turns;
	uint64_t wire_steps, wire_cut; /* of the uplink */
	uint64_t up;
};

static void uplink_figures(struct network *n, struct network_figures *f)
{
	unsigned long masked = networks_mask(n->all);

	lock_acquire(&n->uplink.lock);
	f->up = n->uplink.nic->up;
	f->wire_steps = n->uplink.received_steps;
	f->wire_cut = n->uplink.cut_frames;
	lock_release(&n->uplink.lock);
	networks_unmask(n->all, masked);
}

static void network_figures(const void *object, void *out)
{
	struct network *n = (struct network *)object;
	struct network_figures *f = out;

	memset(f, 0, sizeof *f);
	network_sum(n, &f->port);
	for (unsigned i = 0; i < NET_DROPS; i++)
		f->drops[i] = f->port.sent_drops[i] + f->port.received_drops[i];
	f->ports = n->client_count + n->wired;
	f->captures = network_captures_of(n);
	f->turns = n->worker.turns;
	if (n->wired)
		uplink_figures(n, f);
}

#define NETWORK(field, name, kind, measure, help) COUNTER(struct network_figures, field, name, kind, measure, help)

static const struct counter network_rows[] = {
	NETWORK(ports, "ports", COUNTER_GAUGE, MEASURE_COUNT, "Ports that are there: VMs' interfaces, and the uplink"),
	NETWORK(captures, "captures", COUNTER_GAUGE, MEASURE_COUNT, "Captures under way at them"),
	NETWORK(up, "uplink.up", COUNTER_GAUGE, MEASURE_COUNT, "Whether its uplink has a link: 1 or 0"),
	NETWORK(port.sent_frames, "frames", COUNTER_TOTAL, MEASURE_COUNT,
		"Frames that were sent by its ports; one to be cut is one"),
	NETWORK(port.sent_bytes, "bytes", COUNTER_TOTAL, MEASURE_BYTES, "And their bytes, with Ethernet's headers"),
	NETWORK(port.sent_groups, "groups", COUNTER_TOTAL, MEASURE_COUNT, "Of them, those to groups"),
	NETWORK(port.received_frames, "delivered.frames", COUNTER_TOTAL, MEASURE_COUNT,
		"Frames that its ports were given; one to several is several"),
	NETWORK(port.received_bytes, "delivered.bytes", COUNTER_TOTAL, MEASURE_BYTES, "And their bytes"),
	COUNTER_OF(struct network_figures, drops, "drops", COUNTER_TOTAL, MEASURE_COUNT, &network_drop_reasons,
		   "Frames that went no further, by reason"),
	NETWORK(port.waits, "waits", COUNTER_TOTAL, MEASURE_COUNT, "Times that a sender waited for a receiver's buffers"),
	NETWORK(port.stalls, "stalls", COUNTER_TOTAL, MEASURE_COUNT, "Times that the patience with a receiver ended"),
	NETWORK(port.throttled, "throttled", COUNTER_TOTAL, MEASURE_COUNT, "Times that a sender waited for its own rate"),
	NETWORK(port.learned, "addresses.learned", COUNTER_TOTAL, MEASURE_COUNT, "Addresses that were learned"),
	NETWORK(port.moved, "addresses.moved", COUNTER_TOTAL, MEASURE_COUNT,
		"Of them, those that were another port's before"),
	NETWORK(wire_steps, "uplink.steps", COUNTER_TOTAL, MEASURE_COUNT, "Steps in which frames of the wire were taken in"),
	NETWORK(wire_cut, "uplink.cut", COUNTER_TOTAL, MEASURE_COUNT, "Frames that were cut for the wire"),
	NETWORK(turns, "turns", COUNTER_TOTAL, MEASURE_COUNT, "Turns of its worker on a processor"),
};

const struct counter_table network_counters = {
	.group = "network", .rows = network_rows, .count = ARRAY_SIZE(network_rows),
	.figures_bytes = sizeof(struct network_figures), .figures = network_figures, .piecewise = true,
};

_Static_assert(sizeof(struct network_figures) <= COUNTER_FIGURES_MAX, "registries have that much room");

/* ---- its settings, which are those of its definition ---- */

static const struct network_config *config_of(const void *object) { return &((const struct network *)object)->config; }

static enum status check_with(const void *object, void (*change)(struct network_config *cfg, uint64_t value),
			      uint64_t value, struct error *err)
{
	struct network_config after = *config_of(object);

	change(&after, value);
	return network_config_check(&after, err);
}

static void set_with(void *object, void (*change)(struct network_config *cfg, uint64_t value), uint64_t value)
{
	struct network *n = object;
	struct network_config after = n->config;
	enum status st;

	change(&after, value);
	st = net_switch_set(&n->sw, &after.settings, NULL);
	if (st == ST_OK && n->wired)
		st = network_uplink_set(n, &after, NULL);
	ASSERT(st == ST_OK); /* it was checked */
	n->config = after;
}

#define NETWORK_KNOB(name, field, type)                                                                           \
	static uint64_t get_##name(const void *object) { return config_of(object)->field; }                          \
	static void change_##name(struct network_config *cfg, uint64_t value) { cfg->field = (type)value; }          \
	static enum status check_##name(const void *object, uint64_t value, struct error *err)                       \
	{                                                                                                           \
		return check_with(object, change_##name, value, err);                                                 \
	}                                                                                                           \
	static void set_##name(void *object, uint64_t value) { set_with(object, change_##name, value); }

NETWORK_KNOB(patience, settings.patience_ns, uint64_t)
NETWORK_KNOB(age, settings.age_ns, uint64_t)
NETWORK_KNOB(mtu, mtu, uint32_t)
NETWORK_KNOB(rate, wire.rate, uint64_t)
NETWORK_KNOB(depth, wire.depth_bytes, uint32_t)
NETWORK_KNOB(poll, wire.poll_frames, uint32_t)

#define KNOB_FUNCTIONS(name) .get = get_##name, .check = check_##name, .set = set_##name

static const struct knob network_knob_rows[] = {
	{
		.name = "patience", .type = KNOB_NUMBER, .measure = MEASURE_NS, .max = NET_PATIENCE_MAX_NS,
		.otherwise = NET_PATIENCE_DEFAULT_NS, KNOB_FUNCTIONS(patience),
		.help = "How long senders wait for a receiver that has no buffers; 0: they do not",
	},
	{
		.name = "age", .type = KNOB_NUMBER, .measure = MEASURE_NS, .min = NET_AGE_MIN_NS,
		.max = NET_AGE_MAX_NS, .otherwise = NET_AGE_DEFAULT_NS, KNOB_FUNCTIONS(age),
		.help = "How long a learned address is kept that nothing is heard of",
	},
	{
		.name = "mtu", .type = KNOB_NUMBER, .measure = MEASURE_COUNT, .when = KNOB_AT_START, .min = NET_MTU_MIN,
		.max = NET_MTU_MAX, .otherwise = NET_MTU_DEFAULT, KNOB_FUNCTIONS(mtu),
		.help = "The largest packet that VMs are told of, unless their definitions say so",
	},
	{
		.name = "uplink.rate", .type = KNOB_NUMBER, .measure = MEASURE_RATE, .max = VM_NIC_RATE_MAX,
		KNOB_FUNCTIONS(rate),
		.help = "What the wire takes behind its interface, in bytes a second; 0: what the interface does",
	},
	{
		.name = "uplink.depth", .type = KNOB_NUMBER, .measure = MEASURE_BYTES, .min = NET_UPLINK_DEPTH_MIN,
		.max = NET_UPLINK_DEPTH_MAX, .otherwise = NET_UPLINK_DEPTH_DEFAULT, KNOB_FUNCTIONS(depth),
		.help = "The interface gets another frame while it has fewer bytes than this to send",
	},
	{
		.name = "uplink.poll", .type = KNOB_NUMBER, .measure = MEASURE_COUNT, .min = 1, .max = NIC_RECEIVED_MAX,
		.otherwise = NET_UPLINK_POLL_DEFAULT, KNOB_FUNCTIONS(poll),
		.help = "Frames of the wire that are taken in one step",
	},
};

static bool given(const void *object, size_t row, const char **where)
{
	*where = config_of(object)->origin;
	return (config_of(object)->given & BIT(row)) != 0;
}

const struct knob_table network_knobs = {
	.group = "network", .rows = network_knob_rows, .count = ARRAY_SIZE(network_knob_rows), .given = given,
};

_Static_assert(ARRAY_SIZE(network_knob_rows) <= 32, "network_config.given has a bit for each");

/* ---- an interface of the machine's ---- */

struct nic_state {
	struct nic_figures is;
	uint64_t up, link, waiting;
};

static void nic_figures(const void *object, void *out)
{
	const struct nic *n = object;

	*(struct nic_state *)out = (struct nic_state){
		.is = n->figures, .up = n->up, .link = n->link_mbps * UINT64_C(125000), .waiting = n->waiting_bytes};
}

#define NIC(field, name, kind, measure, help) COUNTER(struct nic_state, field, name, kind, measure, help)

static const struct counter nic_rows[] = {
	NIC(up, "up", COUNTER_GAUGE, MEASURE_COUNT, "Whether it has a link: 1 or 0"),
	NIC(link, "link", COUNTER_GAUGE, MEASURE_RATE, "How fast that is"),
	NIC(is.rx_frames, "rx.frames", COUNTER_TOTAL, MEASURE_COUNT, "Frames that it received"),
	NIC(is.rx_bytes, "rx.bytes", COUNTER_TOTAL, MEASURE_BYTES, "And their bytes"),
	NIC(is.rx_errors, "rx.errors", COUNTER_TOTAL, MEASURE_COUNT, "Frames that were damaged, or none"),
	NIC(is.rx_missed, "rx.missed", COUNTER_TOTAL, MEASURE_COUNT, "Frames that it had no buffer for"),
	NIC(is.tx_frames, "tx.frames", COUNTER_TOTAL, MEASURE_COUNT, "Frames that it was given to send"),
	NIC(is.tx_bytes, "tx.bytes", COUNTER_TOTAL, MEASURE_BYTES, "And their bytes"),
	NIC(is.tx_lost, "tx.lost", COUNTER_TOTAL, MEASURE_COUNT, "Frames that were given up when it was reset"),
	NIC(waiting, "tx.waiting", COUNTER_GAUGE, MEASURE_BYTES, "What it has not sent yet"),
	NIC(is.resets, "resets", COUNTER_TOTAL, MEASURE_COUNT, "Times that it had stopped and was reset"),
	NIC(is.bad_descriptors, "bad_descriptors", COUNTER_TOTAL, MEASURE_COUNT,
	    "Descriptors that came back out of order, twice, or with impossible contents"),
	NIC(is.link_changes, "link_changes", COUNTER_TOTAL, MEASURE_COUNT, "Times that its link came or went"),
	NIC(is.interrupts, "interrupts", COUNTER_TOTAL, MEASURE_COUNT, "Its interrupts"),
};

const struct counter_table network_nic_counters = {
	.group = "nic", .rows = nic_rows, .count = ARRAY_SIZE(nic_rows), .figures_bytes = sizeof(struct nic_state),
	.figures = nic_figures,
};
