/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio device without its transport (virtio 1.2, chapters 2 and 3): status,
 * features, queues, configuration space. The transport (guest/virtio_pci.c)
 * translates its registers into the calls below; a device (virtio_blk.c, ...)
 * embeds struct virtio_device and gives it its ops.
 *
 * Locking. Each device has one lock (LOCK_DEVICE), which protects the device, its queues
 * and whatever of the transport is touched in its callbacks. Unless a comment says otherwise
 * a call from the transport is made with it held and interrupts masked, and every callback
 * comes with it held. Pins that come later take it themselves; the disk's completions take it if it is free, and
 * otherwise leave it to its holder.
 *
 * Work. A kick does a bounded piece on the spot; what is left is announced by defer(), and
 * virtio_work() goes on with it in a task that is charged to the VM. Work is measured in host
 * instructions, by estimates that the devices state for their steps. A device that passes on what it takes from its
 * queues to others, who have locks of their own or take long, does that in carry(), behind each virtio_work() and
 * without the lock (virtio_step()); it leaves what is popped where stop() finds it, but for what carry() has in hand.
 * Kicks of queues whose work is of use only with carry() behind it are left to the worker (leave_kicks).
 *
 * Reset. Nothing is cut off: after a reset no byte may land in guest memory, and a request that a disk
 * has begun cannot be called back. So status reads non-zero (3.1.1: the driver waits for 0), or queue_reset
 * reads 1, until what was under way has ended; what can be called back is.
 */
#ifndef CORBEL_IO_VIRTIO_H
#define CORBEL_IO_VIRTIO_H

#include "io/virtq.h"
#include "lib/lock.h"

/* Device ids (chapter 5). */
#define VIRTIO_ID_NET 1
#define VIRTIO_ID_BLOCK 2
#define VIRTIO_ID_CONSOLE 3
#define VIRTIO_ID_ENTROPY 4
#define VIRTIO_ID_BALLOON 5

/* Device status (2.1). */
#define VIRTIO_STATUS_ACKNOWLEDGE BIT(0)
#define VIRTIO_STATUS_DRIVER BIT(1)
#define VIRTIO_STATUS_DRIVER_OK BIT(2)
#define VIRTIO_STATUS_FEATURES_OK BIT(3)
#define VIRTIO_STATUS_NEEDS_RESET BIT(6)
#define VIRTIO_STATUS_FAILED BIT(7)

/* Reserved feature bits (chapter 6). */
#define VIRTIO_F_INDIRECT_DESC BIT(28)
#define VIRTIO_F_EVENT_IDX BIT(29)
#define VIRTIO_F_VERSION_1 BIT(32)
#define VIRTIO_F_ACCESS_PLATFORM BIT(33) /* never offered: devices see guest-physical addresses */
#define VIRTIO_F_RING_RESET BIT(40)

#define VIRTIO_NO_VECTOR 0xffffu
#define VIRTIO_QUEUES_MAX 32u

/* What a kick does before it leaves the rest to virtio_work(), in host instructions. */
#define VIRTIO_INLINE_BUDGET 20000u

struct virtio_device;

/* How work on a queue ended. */
enum virtio_progress {
	VIRTIO_IDLE,    /* the queue is empty: the driver is asked to kick */
	VIRTIO_BLOCKED, /* nothing can be done until virtio_resume(), or what a pin or a pop waits for, comes */
	VIRTIO_MORE,    /* the budget is spent */
};

/* What a transport gives. @ctx is virtio_device.transport_ctx. */
struct virtio_transport_ops {
	/* Sends the message of @vector, VIRTIO_NO_VECTOR excepted. Called with the device's lock held. */
	void (*interrupt)(void *ctx, uint16_t vector);
	/*
	 * The same, but a processor that runs elsewhere is made to look only when it was made to at least @gap host
	 * ticks ago, 0 for at once; else it sees the message at its next exit, and false. NULL: as interrupt().
	 */
	bool (*interrupt_after)(void *ctx, uint16_t vector, uint64_t gap);
	/* Makes those look that have not seen such a message yet, under the same condition; false: some have not. */
	bool (*nudge)(void *ctx, uint64_t gap);
	/* There is work left: call virtio_work() before long. Any context, with or without the lock, and maybe twice. */
	void (*defer)(void *ctx);
	/* The driver did what no driver may, @why (static text): for the log. The device needs a reset. May be NULL. */
	void (*broken)(void *ctx, const char *why);
	/* A reset of the device that had to wait is complete. May be NULL: who wants to know looks at the status. */
	void (*reset_done)(void *ctx);
};

/* What a device is. All with the lock held. */
struct virtio_device_ops {
	/* FEATURES_OK is being set: false refuses the set @accepted, a subset of the offered. NULL: all subsets do. */
	bool (*features_ok)(struct virtio_device *d, uint64_t accepted);
	/* The driver wrote @bytes (1, 2, 4 or 8) at @offset, inside the space. NULL: nothing is writable. */
	void (*config_write)(struct virtio_device *d, uint32_t offset, unsigned bytes, uint64_t value);
	/*
	 * Goes on with queue @index, which is ON: pops, works, pushes, notifies, taking what it did off *@budget. A
	 * step is begun only when the budget covers the most that it can take, so that no more than the budget is ever
	 * done. A queue that turns out broken needs no word from the device.
	 */
	enum virtio_progress (*work)(struct virtio_device *d, unsigned index, unsigned *budget);
	/*
	 * Queue @index is being stopped: call back what can be, drop those chains. The others are dropped as they end,
	 * by virtio_drop(). What virtio_pin() waits for needs no care. NULL: the device keeps no chain beyond work().
	 */
	void (*stop)(struct virtio_device *d, unsigned index);
	/* virtio_work() begins: takes in what was left by those who found the lock taken. May be NULL. */
	void (*collect)(struct virtio_device *d);
	/*
	 * Without the lock, behind virtio_work(), @budget as there; one call at a time. True: there is more to do at
	 * once. NULL: nothing is done so.
	 */
	bool (*carry)(struct virtio_device *d, unsigned budget);
	/* The device was reset and all queues are off: power-on state. May be NULL. */
	void (*reset)(struct virtio_device *d);
};

struct virtio_queue {
	struct virtq ring;
	struct virtio_device *device;
	uint16_t vector; /* MSI-X, VIRTIO_NO_VECTOR for none */
	bool kicked;     /* there may be something to do */
	bool resetting;  /* by queue_reset; ring.state says how far it is */
	bool leave_kicks; /* a kick does nothing on the spot; constant */
};

struct virtio_device {
	/* Set by the device's init, constant. */
	const struct virtio_device_ops *ops;
	uint32_t id;             /* VIRTIO_ID_* */
	uint64_t offered;        /* features, those of the core included */
	struct virtio_queue *queues;
	unsigned queue_count;    /* at most VIRTIO_QUEUES_MAX */
	uint8_t *config;         /* the configuration space as the driver reads it, little-endian; the device's */
	uint32_t config_bytes;
	struct guest_mem mem;
	/* Set by the transport before the first call. */
	const struct virtio_transport_ops *transport;
	void *transport_ctx;

	struct lock lock; /* LOCK_DEVICE */
	uint64_t accepted;  /* what the driver wrote; final once FEATURES_OK is set */
	bool accepted_unknown; /* it set a bit beyond 63 */
	uint8_t status;
	uint8_t config_generation;
	uint16_t config_vector;
	bool resetting;
	bool stopping;      /* in the middle of stopping queues: nothing is settled yet */
	bool deferred;      /* defer() was called, virtio_work() was not yet */
	bool owes_nudge;    /* interrupt_after() or nudge() was false */
	unsigned turn;      /* the queue with which work goes on */
	const char *broken; /* why NEEDS_RESET is set; stays after the reset, for who asks */
	uint64_t kicks, interrupts, resets; /* since power-on */
};

/* ---- for devices ---- */

/*
 * Makes @d ready; its ops, id, queues, config and mem are set, and offered holds the device's own features, to which
 * VERSION_1, INDIRECT_DESC, EVENT_IDX and RING_RESET are added. Each queue's ring.size_max is set. No lock needed.
 */
void virtio_init(struct virtio_device *d);

static inline bool virtio_has(const struct virtio_device *d, uint64_t feature) { return (d->accepted & feature) != 0; }
/* True while the device may use the queues: DRIVER_OK, not broken, not being reset. */
static inline bool virtio_running(const struct virtio_device *d)
{
	return (d->status & (VIRTIO_STATUS_DRIVER_OK | VIRTIO_STATUS_NEEDS_RESET | VIRTIO_STATUS_FAILED)) ==
		       VIRTIO_STATUS_DRIVER_OK &&
	       !d->resetting;
}

/* Chain @head of queue @index is done; the driver is not told yet: virtio_notify(), once for many. */
static inline void virtio_push(struct virtio_device *d, unsigned index, uint16_t head, uint32_t written)
{
	virtq_push(&d->queues[index].ring, head, written);
}
/* Interrupts for queue @index if the driver wants that. */
void virtio_notify(struct virtio_device *d, unsigned index);
/*
 * The same, not so urgently: see interrupt_after(). False: nobody was made to look, and the device calls virtio_nudge()
 * with each completion until the last.
 */
bool virtio_notify_after(struct virtio_device *d, unsigned index, uint64_t gap);
void virtio_nudge_slow(struct virtio_device *d, uint64_t gap);
static inline void virtio_nudge(struct virtio_device *d, uint64_t gap)
{
	if (unlikely(d->owes_nudge))
		virtio_nudge_slow(d, gap);
}
/* A chain of a queue that is being stopped has ended. May complete the reset. */
void virtio_drop(struct virtio_device *d, unsigned index, uint16_t head);
/* True when chains of queue @index are to be dropped, not pushed. */
static inline bool virtio_stopping(const struct virtio_device *d, unsigned index)
{
	return d->queues[index].ring.state == VIRTQ_STOPPING;
}
/* There is something to do for queue @index again: work() will be called, from virtio_work(). */
void virtio_resume(struct virtio_device *d, unsigned index);
/* Pins p for the queue as its one wait: on PIN_LATER work() is called again when it may be had. */
enum pin_result virtio_pin(struct virtio_device *d, unsigned index, struct guest_pin *p);
/* The driver broke a rule, @why (static text): NEEDS_RESET, and nothing more is done for it. */
void virtio_break(struct virtio_device *d, const char *why);
/* Fields of the configuration space have changed, under the lock: the driver is told, if it is up (2.3, 2.5). */
void virtio_config_changed(struct virtio_device *d);

/* ---- for transports ---- */

/* 32 bits of the offered features; @select 0 or 1, all others have none. */
uint32_t virtio_features(const struct virtio_device *d, uint32_t select);
/* What the driver accepted so far, likewise; and its write. Ignored once FEATURES_OK is set. */
uint32_t virtio_accepted(const struct virtio_device *d, uint32_t select);
void virtio_accept(struct virtio_device *d, uint32_t select, uint32_t bits);

/*
 * The status register. Bits only come, until 0 is written, which resets (2.1.1). FEATURES_OK does not show when the set
 * is refused, DRIVER_OK not without FEATURES_OK. While a reset is under way it reads as before it, and only 0 may be
 * written.
 */
uint8_t virtio_status(const struct virtio_device *d);
void virtio_set_status(struct virtio_device *d, uint8_t value);

/* NULL when there is no such queue. vector is the transport's to read and write. */
struct virtio_queue *virtio_queue(struct virtio_device *d, unsigned index);
/*
 * Size and addresses of a queue; writes are ignored once it is enabled. Whatever is written is kept and
 * judged when it is enabled (not a power of two, misaligned, ...): then the device is broken.
 * @half: 0 for bits 31..0 of the address, 1 for 63..32.
 */
void virtio_queue_set_size(struct virtio_queue *q, uint16_t size);
void virtio_queue_set_address(struct virtio_queue *q, enum virtq_part part, unsigned half, uint32_t value);
uint32_t virtio_queue_address(const struct virtio_queue *q, enum virtq_part part, unsigned half);
/* queue_enable: reads true from the write on until the queue is reset. Ignored before FEATURES_OK and when it is on. */
void virtio_queue_enable(struct virtio_queue *q);
bool virtio_queue_enabled(const struct virtio_queue *q);
/* queue_reset (2.6.1): reads true while the reset is under way. Ignored unless RING_RESET was negotiated. */
void virtio_queue_reset(struct virtio_queue *q);
bool virtio_queue_resetting(const struct virtio_queue *q);

/*
 * The configuration space. Any offset, @bytes 1, 2, 4 or 8: bytes beyond its end read as 0 and writes that touch them
 * are ignored. A transport that reads in several pieces compares config_generation (2.5).
 */
uint64_t virtio_config_read(const struct virtio_device *d, uint32_t offset, unsigned bytes);
void virtio_config_write(struct virtio_device *d, uint32_t offset, unsigned bytes, uint64_t value);

/* The driver kicked queue @index (any number). Does at most VIRTIO_INLINE_BUDGET of it, the rest is deferred. */
void virtio_kick(struct virtio_device *d, unsigned index);
/* Goes on with what is left, @budget instructions of it. True: there is still more, call again. */
bool virtio_work(struct virtio_device *d, unsigned budget);
/* A step of the worker's: virtio_work(), then carry(). Takes the lock itself; interrupts masked. True: as above. */
bool virtio_step(struct virtio_device *d, unsigned budget);

/*
 * Resets the device as 0 in the status register does: the VM is reset or destroyed. True: complete on return. False: it
 * will be complete when virtio_status() reads 0; until then the VM's memory must stay.
 */
bool virtio_reset(struct virtio_device *d);

#endif
