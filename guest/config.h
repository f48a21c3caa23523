/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a VM is, as its definition says: plain data, filled by the control plane
 * from Lua or the wire and checked by vm_config_check(). It never changes the
 * text it came from.
 */
#ifndef CORBEL_GUEST_CONFIG_H
#define CORBEL_GUEST_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"
#include "io/coalesce.h"
#include "io/net_switch.h"
#include "lib/rls.h"

#define VM_NAME_MAX 32      /* with the NUL; [a-z0-9][a-z0-9._-]* */
#define VM_PATH_MAX 128
#define VM_CMDLINE_MAX 2048
#define VM_MODULES_MAX 8
#define VM_VCPUS_MAX 16
#define VM_DISKS_MAX 8
#define VM_DISK_NAME_MAX 20    /* with the NUL; letters as in the name of a VM */
#define VM_DISK_SERIAL_MAX 21  /* with the NUL; virtio 1.2, 5.2.6: 20 bytes of printable text */
#define VM_DISK_QUEUES_MAX 16
#define VM_DISK_RATE_MAX 1000000000000000ull /* of a reservation or limit, in its unit a second */
#define VM_NICS_MAX 4
#define VM_NIC_NAME_MAX 20     /* with the NUL; letters as in the name of a VM */
#define VM_NIC_QUEUES_MAX 8
#define VM_NIC_RATE_MAX 125000000000ull /* bytes a second: 1 Tbit/s */
#define VM_NIC_RATE_MIN 12500ull        /* of a limit: 100 kbit/s; with less even a frame takes a second */
#define VM_NIC_STORM_MAX 1000000u
#define VM_MEMORY_MIN (1ull << 20)
/* What a 4-level walk with 40 physical address bits reaches, less the hole below 4 GiB. */
#define VM_MEMORY_MAX ((1ull << 40) - (1ull << 30))

enum boot_protocol { BOOT_LINUX, BOOT_PVH, BOOT_MULTIBOOT };

enum reset_action { ON_RESET_RESTART, ON_RESET_STOP };
/* Their words, by number; NULL at the end. */
extern const char *const reset_action_names[];

/*
 * Which device has what is typed at the VM's console. Both print to it: the UART is there in any case, the virtio
 * console with CONSOLE_VIRTIO, and until a driver listens at it the UART has the input.
 */
enum console_kind { CONSOLE_UART, CONSOLE_VIRTIO };
extern const char *const console_kind_names[];

struct boot_module {
	char image[VM_PATH_MAX]; /* name in the store */
	char cmdline[VM_PATH_MAX];
};

/* What the numbers of a disk count. */
enum vm_disk_unit { VM_DISK_IOPS, VM_DISK_BYTES, VM_DISK_UNITS };
extern const char *const vm_disk_unit_names[]; /* by number; NULL at the end */

/* A virtio disk: disk = { NAME = virtio { volume = ... } }. */
struct vm_disk {
	char name[VM_DISK_NAME_MAX];     /* NAME, of which a VM has one each */
	char volume[VM_PATH_MAX];        /* that the bytes are in */
	char serial[VM_DISK_SERIAL_MAX]; /* that the guest reads; empty: the name */
	bool read_only;
	unsigned queues;                 /* 1 to VM_DISK_QUEUES_MAX; 0: one for each vcpu */
	enum vm_disk_unit unit;          /* of the numbers: requests, or bytes, in a second */
	struct rls numbers;              /* limit RLS_UNLIMITED for none */
	struct coalesce_settings coalesce; /* which of its completions interrupt */
	uint32_t given;                  /* BIT(row) of vm_disk_knobs[unit] that the definition gave */
};

/* A virtio network interface: net = { NAME = virtio { network = ... } }. */
struct vm_nic {
	char name[VM_NIC_NAME_MAX];   /* NAME, of which a VM has one each */
	char network[VM_NAME_MAX];    /* that it is on */
	uint8_t mac[NET_MAC_BYTES];   /* all 0: made of the VM's and the interface's names, the same each time */
	bool any_mac;                 /* it may send from other addresses too (a guest that bridges) */
	struct net_ip ips[NET_PORT_IPS_MAX]; /* it sends from these alone; none: from any */
	unsigned ip_count;
	uint16_t vlan;                /* of the frames that it sends and gets without a tag; 0: the network's own */
	uint16_t trunk[NET_PORT_VLANS_MAX]; /* tags that it may use */
	unsigned trunk_count;
	bool isolated;                /* reaches no other isolated interface */
	bool connected;               /* its link is up; default true */
	unsigned queues;              /* 1 to VM_NIC_QUEUES_MAX; 0: one for each vcpu */
	uint32_t mtu;                 /* 0: the network's */
	uint64_t rate;                /* bytes a second that it may send, to anybody; 0: any number */
	uint32_t storm;               /* frames to groups a second; 0: any number */
	struct rls numbers;           /* on the uplink, bytes a second: mbps; limit RLS_UNLIMITED for none */
	struct coalesce_settings coalesce; /* which received frames interrupt */
	uint32_t given;               /* BIT(row) of vm_nic_knobs that the definition gave */
};

struct vm_config {
	char name[VM_NAME_MAX];
	char origin[VM_PATH_MAX]; /* "file:line" of the definition, for messages */
	char pool[VM_NAME_MAX];   /* that it belongs to; "": the root (guest/pool.h) */
	struct {
		enum boot_protocol protocol;
		char image[VM_PATH_MAX];
		char initrd[VM_PATH_MAX]; /* empty: none; linux and pvh only */
		char cmdline[VM_CMDLINE_MAX];
		struct boot_module modules[VM_MODULES_MAX]; /* multiboot only */
		unsigned module_count;
	} boot;
	struct {
		unsigned count; /* vcpus, 1 to VM_VCPUS_MAX */
		struct rls numbers;  /* of all vcpus together: ppm of one CPU, limit RLS_UNLIMITED for none */
		uint64_t affinity;   /* BIT(cpu) of those it may run on; 0: any */
		bool exclusive;      /* a core for each vcpu, on which nobody else runs */
		bool latency;        /* its vcpus run at once when they wake */
	} cpu;
	struct {
		uint64_t size;        /* bytes, a multiple of 4 KiB */
		uint64_t reservation; /* bytes; equals size in this version: memory is not overcommitted yet */
		uint64_t balloon;     /* bytes that the guest is asked to give away, a multiple of 4 KiB */
	} memory;
	struct vm_disk disks[VM_DISKS_MAX]; /* in the order in which the guest finds them */
	unsigned disk_count;
	struct vm_nic nics[VM_NICS_MAX];    /* likewise */
	unsigned nic_count;
	bool rng;        /* a virtio entropy device; default true */
	bool balloon;    /* a virtio memory balloon; default true */
	enum console_kind console;
	enum reset_action on_reset;
	bool autostart;
	bool acpi;       /* ACPI tables are given to the guest; default true */
	bool debug_exit; /* port 0xf4: a 32-bit write ends the VM with that code */
	uint32_t given;  /* BIT(row) of vm_knobs that the definition gave; the others are defaults */
};

/* ---- what VMs and pools (guest/pool.h) have in common ---- */

/* Whose definition it is: every sentence about it starts with that. */
struct config_head {
	const char *kind;   /* "VM", "pool" */
	const char *name;   /* VM_NAME_MAX bytes, which may not end */
	const char *origin; /* VM_PATH_MAX bytes, which may not end */
};

/* Fails with @st and a sentence; strings from outside are made to end and cleaned before they are quoted. */
__attribute__((format(printf, 4, 5)))
enum status config_refuse(struct config_head head, struct error *err, enum status st, const char *fmt, ...);
/* Length of a field of @size bytes; @size when it does not end. */
size_t config_length(const char *text, size_t size);
/* True when the field of @size bytes ends. */
bool config_ends(const char *text, size_t size);
/* The place, from 1 on, of the first character that a name, which ends, cannot have; 0: there is none. */
unsigned config_name_fault(const char *name);
/* The name is there, ends, and has only characters that a name can have. ST_INVALID. */
MUST_CHECK enum status config_check_name(struct config_head head, struct error *err);
/* CPU numbers that make sense by themselves. ST_INVALID. */
MUST_CHECK enum status config_check_numbers(struct config_head head, const struct rls *n, struct error *err);

/* Likewise of a network's uplink, bytes a second; @words ("net.lan: ") stand in front of what is wrong. */
MUST_CHECK enum status config_check_rates(struct config_head head, const char *words, const struct rls *n,
					  struct error *err);

/* ---- a VM's ---- */

/* Defaults for everything but name and volume. */
void vm_disk_init(struct vm_disk *disk);
/* Defaults for everything but name and network. */
void vm_nic_init(struct vm_nic *nic);
/*
 * The address of @nic, one of @cfg's: what the definition says, or one made of the two names, which is the same at
 * each start and on each machine: where VMs of one name on two machines share a wire, one of them has to be given
 * another. The first byte is c2: one station's, and locally administered (IEEE 802c, 8.4).
 */
void vm_nic_mac(const struct vm_config *cfg, const struct vm_nic *nic, uint8_t mac[NET_MAC_BYTES]);
/* Defaults for everything but name, boot.image and memory.size. */
void vm_config_init(struct vm_config *cfg);
/* The part of vm_config_check() that is about network interfaces. */
MUST_CHECK enum status vm_nics_check(const struct vm_config *cfg, struct error *err);
/*
 * Every rule that needs no machine. The sentence names the VM, its origin and the setting, or
 * the two settings that conflict.
 */
enum status vm_config_check(const struct vm_config *cfg, struct error *err);

#endif
