/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's networks: each is a switch (io/net_switch.h) with a name, the ports of VMs' interfaces on it, and at
 * most one of the machine's own interfaces as its uplink. A VM's definition says which network an interface is on; the
 * network must be there when the VM starts, and cannot be removed while one is on it.
 *
 * An uplink has a worker, an entity of the pool `system`, that sends and receives in bounded steps, and a copy of the
 * tree of pools, in which the VMs' interfaces are clients with the numbers of their definitions.
 *
 * Memory comes from the host's frames and counts with what is promised (machine.committed), before anything is made.
 * All calls are the control task's, interrupts enabled, unless said otherwise.
 */
#ifndef CORBEL_GUEST_NETWORK_H
#define CORBEL_GUEST_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/config.h"
#include "io/net_switch.h"
#include "io/net_tap.h"
#include "io/net_uplink.h"
#include "io/nic.h"
#include "lib/counter.h"
#include "lib/error.h"
#include "lib/knob.h"

#define NETWORKS_MAX 16u
#define NETWORK_NICS_MAX 8u /* of the machine */
#define NETWORK_TAPS_MAX 4u /* captures at a time */
#define NETWORK_TAP_RING (256u << 10)
#define NETWORK_PORT_MAX 64u /* "web/lan0" or "uplink", with the NUL */

struct machine;
struct network;
struct vm;
struct vm_nic_figures;

/* What a network is, as its definition says. */
struct network_config {
	char name[VM_NAME_MAX];	   /* as a VM's */
	char origin[VM_PATH_MAX];  /* "file:line" of the definition, for messages */
	char uplink[NIC_NAME_MAX]; /* one of the machine's interfaces; "": none */
	uint16_t uplink_vlan;	   /* of the wire's frames without a tag; 0: as they are */
	uint32_t mtu;		   /* that its guests are told, unless their definitions say so */
	struct net_switch_settings settings;
	struct net_uplink_settings wire;
	uint32_t given; /* BIT(row) of network_knobs that the definition gave */
};

/* Makes what there is for networks and gives it to @m; @m outlives it. ST_NO_MEMORY, ST_NOT_ADMITTED. */
MUST_CHECK enum status networks_create(struct machine *m, struct error *err);
/* No VM is on one (ASSERT): for tests. */
void networks_destroy(struct machine *m);
/* An interface of the machine's, for good; before networks that name it. ST_OVER_LIMIT, ST_EXISTS. */
MUST_CHECK enum status networks_add_nic(struct machine *m, struct nic *nic, struct error *err);
struct nic *networks_nic(struct machine *m, unsigned index);
/* What the control task does in each of its rounds, bounded; true when there is more at once. */
bool networks_step(struct machine *m);
/* Definitions have changed: numbers of running VMs' interfaces and of pools, and places in the tree, are read again. */
void networks_changed(struct machine *m);

void network_config_init(struct network_config *cfg);
/* Every rule that needs no machine. ST_INVALID: the sentence names the network, its origin and the setting. */
MUST_CHECK enum status network_config_check(const struct network_config *cfg, struct error *err);
/*
 * Makes the network, or gives the one of that name other settings, at once. ST_NOT_FOUND: no such interface; ST_BUSY:
 * another network has it, or the uplink cannot change while VMs are on it; ST_OVER_LIMIT, ST_NO_MEMORY,
 * ST_NOT_ADMITTED.
 */
MUST_CHECK enum status network_define(struct machine *m, const struct network_config *cfg, struct error *err);
/* ST_BUSY with who is on it, ST_NOT_FOUND. */
MUST_CHECK enum status network_remove(struct machine *m, const char *name, struct error *err);
struct network *network_find(struct machine *m, const char *name);
/* In the order of their places, NULL: no more; @prev NULL: the first. Each keeps its place as long as it is there. */
struct network *network_next(struct machine *m, const struct network *prev);
const struct network_config *network_config_of(const struct network *n);
unsigned network_place(const struct network *n);
struct network *network_at(struct machine *m, unsigned place);

/* ---- ports ---- */

struct network_port_info {
	char name[NETWORK_PORT_MAX]; /* VM/interface, or "uplink" */
	struct net_port_config config;
	struct net_port_figures figures;
	bool up;
	/* What went by the uplink. */
	uint64_t wire_frames, wire_bytes, wire_queued, wire_throttled;
	unsigned held;
};
/* The port numbered @index or a later one; *next is for the next call. False: no more. */
bool network_next_port(struct network *n, unsigned index, unsigned *next, struct network_port_info *out);
/* The address numbered *index or a later one, as net_switch_address(); port's name. */
bool network_next_address(struct network *n, unsigned *index, uint8_t mac[NET_MAC_BYTES], uint16_t *vlan,
			  char port[NETWORK_PORT_MAX], uint64_t *age_ns);

/* ---- captures ---- */

/*
 * Begins to write down what passes @port ("web/lan0"; "NETWORK/uplink"), cut to @snap bytes (0: all). *capture is for
 * the calls below. One ends by itself when nobody has read it for a minute. ST_NOT_FOUND; ST_BUSY: somebody captures
 * there; ST_OVER_LIMIT, ST_NO_MEMORY, ST_NOT_ADMITTED.
 */
MUST_CHECK enum status network_capture_begin(struct machine *m, const char *port, uint32_t snap, uint32_t *capture,
					     struct error *err);
/*
 * The oldest record, as net_tap_read(); *got false: nothing now. ST_NOT_FOUND: no such capture, or its port is gone and
 * all has been read.
 */
MUST_CHECK enum status network_capture_read(struct machine *m, uint32_t capture, struct net_tap_record *r, void *data,
					    bool *got, struct error *err);
MUST_CHECK enum status network_capture_end(struct machine *m, uint32_t capture, uint64_t *lost, struct error *err);

/* ---- for a VM's interface (guest/vm_net.c) ---- */

struct network_client; /* a port and, where there is an uplink, its sender */

uint64_t network_client_bytes(void); /* of the VM's memory, aligned to 64 */
/*
 * Opens a port for interface @nic of @vm, whose device is @dev (a struct virtio_net). The sentences name the network.
 * ST_NOT_FOUND: there is no such network; the statuses of net_port_open().
 */
MUST_CHECK enum status network_client_open(struct vm *vm, const struct vm_nic *nic, void *dev, void *memory,
					   struct network_client **out, struct error *err);
struct net_port *network_client_port(struct network_client *c);
/* The MTU that @nic's guest is told: its own, or its network's. */
uint32_t network_mtu(struct machine *m, const struct vm_nic *nic);
/* What port and uplink have counted for it; the rest of *out stays. Masked, no lock. */
void network_client_figures(struct network_client *c, struct vm_nic_figures *out);
/* The definition's numbers have changed. Masked, no lock. */
void network_client_renumber(struct network_client *c, const struct vm_nic *nic);
/* Nothing is under way from its device. False: somebody delivers to it right now: call again. */
bool network_client_close(struct network_client *c);

/* ---- for the tree of counters and settings ---- */

/* Of a struct network; they take locks of their own. */
extern const struct counter_table network_counters;
extern const struct knob_table network_knobs;
/* Of a struct nic. */
extern const struct counter_table network_nic_counters;
/* Arrays of NET_DROPS as a family: names of the reasons. */
extern const struct counter_family network_drop_reasons;

#endif
