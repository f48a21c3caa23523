/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intel's 8254x (82540EM and its family) and, by a table of what differs, the 82574L, behind nic.h: one ring of legacy
 * descriptors each way, each descriptor with a buffer of its own in the driver's memory for good. What the card writes
 * back is judged before anything is believed: order, length, pieces, and that it was the card's turn.
 *
 * A card that has stopped is reset, in steps made by poll(): nobody waits for it. Until the registers say that the
 * reset is over and that both directions are disabled, the card may still write, so the rings and buffers stay
 * untouched; frames that are out at the owner stay as they are until he has released them.
 *
 * Pure C: registers are reached through struct e1000_io, so that tests put a card of their own there. All calls but
 * e1000_interrupt() come one at a time.
 */
#ifndef CORBEL_FIRMWARE_E1000_H
#define CORBEL_FIRMWARE_E1000_H

#include <stdbool.h>
#include <stdint.h>

#include "firmware/e1000_regs.h"
#include "io/dma.h"
#include "io/nic.h"
#include "lib/clock.h"
#include "lib/error.h"

#define E1000_VENDOR 0x8086u
#define E1000_RX 256u /* descriptors; a multiple of 8 (13.4.27) */
#define E1000_TX 240u
#define E1000_BUFFER 2048u
#define E1000_RING_BYTES 4096u
#define E1000_FRAME_MAX (NET_MTU_DEFAULT + NET_ETHERNET_BYTES + NET_TAG_BYTES)
/* The driver's memory: two rings, then the buffers. Just under 1 MiB. */
#define E1000_MEMORY_BYTES (2 * E1000_RING_BYTES + (E1000_RX + E1000_TX) * E1000_BUFFER)
_Static_assert(E1000_RX * sizeof(struct e1000_descriptor) <= E1000_RING_BYTES && E1000_TX <= E1000_RX, "a page a ring");
_Static_assert(E1000_RX % 8 == 0 && E1000_TX % 8 == 0, "13.4.27, 13.4.38");

/* 32 bits at a time, in order. */
struct e1000_io {
	uint32_t (*read)(void *ctx, uint32_t reg);
	void (*write)(void *ctx, uint32_t reg, uint32_t v);
	void *ctx;
};

/* What differs between them. */
struct e1000_model {
	uint16_t device; /* of PCI */
	const char *name;
	uint32_t eerd_done;
	unsigned eerd_address_shift;
	uint32_t tipg, txdctl;
	bool master_disable; /* CTRL and STATUS know of requests under way */
};

enum e1000_state {
	E1000_QUIETING,  /* it ends the requests that are under way */
	E1000_RESETTING, /* until the registers say that it has nothing of ours any more */
	E1000_STOPPED,   /* they have said so; frames may still be out */
	E1000_RUNNING
};

struct e1000_ring {
	struct e1000_descriptor *descriptors;
	struct dma_mapping at, buffer[E1000_RX]; /* one more than are used, for the shorter one */
	uint8_t *buffers;
	unsigned count;
	unsigned next;	 /* to be received, to be filled */
	unsigned oldest; /* received and not the card's again, sent and not taken back */
	unsigned told;	 /* the card: up to there, excluded, they are its own */
};

struct e1000 {
	struct nic nic;
	const struct e1000_model *model;
	struct e1000_io io;
	const struct clock *clock;
	struct dma dma;
	enum e1000_state state;
	uint64_t settled_at, late_at; /* ticks: of a reset */
	bool rearm;                   /* interrupts were wanted before it */
	bool promiscuous;
	uint64_t check_at; /* ticks */
	struct e1000_ring rx, tx;
	bool out[E1000_RX]; /* the owner has that frame */
	unsigned out_count;
	unsigned given;        /* buffers that the card has not been told of */
	bool in_pieces;        /* of a frame over several buffers, which is dropped, more is to come */
	bool gap;              /* a later descriptor was back before the next one, at the last check */
	uint64_t silent_since; /* ticks: the card has counted a frame and given none since; 0: it has not */
	uint64_t rx_frames;    /* descriptors that were back at the last check */
	uint64_t rx_returned;
	bool reserved;
	uint16_t bytes[E1000_TX];
	uint64_t tx_moved; /* ticks: when last something came back, or the card was given something after a rest */
	/* Shared with e1000_interrupt(). */
	uint32_t armed, causes;
};

/* The model with PCI's number @device, NULL: it is no card of ours. */
const struct e1000_model *e1000_model_of(uint16_t device);

/*
 * Resets the card of which nothing is known, and finds out its address. It needs no access to memory yet. @where: for
 * its name. Waits for some milliseconds, at most two seconds. ST_IO: it does not end its reset, or has no address.
 */
enum status e1000_open(struct e1000 *e, const struct e1000_model *model, const struct e1000_io *io,
		       const struct clock *clock, const char *where, struct error *err) MUST_CHECK;
/*
 * Starts it with @memory: E1000_MEMORY_BYTES, aligned to a page, the driver's for good. The statuses of dma_ops.map,
 * then it does not run.
 */
enum status e1000_start(struct e1000 *e, const struct dma *dma, void *memory, struct error *err) MUST_CHECK;

/*
 * The card's line, which may be others' too, is high. Masked, any CPU, whatever the owner does meanwhile. False: the
 * card has not done that.
 */
bool e1000_interrupt(struct e1000 *e);
/* Has it interrupt for nothing, if its interrupts are on. */
void e1000_provoke(struct e1000 *e);

/* ---- between the driver's files ---- */

#define E1000_INTERRUPTS (E1000_INT_TXDW | E1000_INT_LSC | E1000_INT_RXDMT0 | E1000_INT_RXO | E1000_INT_RXT0)

static inline uint32_t e1000_read(const struct e1000 *e, uint32_t reg) { return e->io.read(e->io.ctx, reg); }
static inline void e1000_write(const struct e1000 *e, uint32_t reg, uint32_t v) { e->io.write(e->io.ctx, reg, v); }

static inline unsigned e1000_after(const struct e1000_ring *r, unsigned index)
{
	return index + 1 == r->count ? 0 : index + 1;
}

/* What the card has written into a descriptor, once. What comes with it is read after it. */
static inline uint64_t e1000_word(const struct e1000_ring *r, unsigned index)
{
	return __atomic_load_n(&r->descriptors[index].word, __ATOMIC_ACQUIRE);
}

static inline void e1000_sync(const struct e1000 *e, const struct dma_mapping *m) { e->dma.ops->sync(e->dma.ctx, m); }

extern const struct nic_ops e1000_ops;

/* Rings as they are before the first frame; what was committed is lost. Nothing is out, the card has nothing. */
void e1000_rings_init(struct e1000 *e);
/* As nic_ops.interrupts, of a card that runs. */
void e1000_arm(struct e1000 *e);

/* Because it has @stopped, or to get rid of what it was given. */
void e1000_begin_reset(struct e1000 *e, bool stopped);
void e1000_continue_reset(struct e1000 *e);
/* Now and then: link, counters, and whether it receives. */
void e1000_check(struct e1000 *e, uint64_t now);

#endif
