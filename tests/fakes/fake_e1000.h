/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A card of Intel's 8254x behind struct e1000_io, with the wire on its other side and the machine's memory within its
 * reach. It is strict where the manual is: a driver that touches it while it begins a reset, gives it descriptors that
 * point elsewhere, or changes memory before a reset is over ends the test. What it does wrong is chosen by the test.
 * Time moves with each look at the clock.
 */
#ifndef CORBEL_TESTS_FAKE_E1000_H
#define CORBEL_TESTS_FAKE_E1000_H

#include <stdbool.h>
#include <stdint.h>

#include "firmware/e1000.h"

#define FAKE_E1000_SENT 1024u

struct fake_e1000_frame {
	uint8_t data[E1000_BUFFER];
	uint32_t bytes;
};

struct fake_e1000 {
	const struct e1000_model *model;
	uint8_t *memory; /* that it reaches, */
	uint64_t memory_at;
	uint32_t memory_bytes;
	uint16_t eeprom[64];
	/* What it does, and does wrong. */
	bool gone;           /* every register reads as ones */
	bool no_eeprom;      /* words never come */
	bool loads_address;  /* by itself, into RAL and RAH */
	bool resets_nothing; /* but says so: as the emulator's */
	bool stuck_in_reset;
	bool stuck_enabled;  /* RCTL.EN stays, whatever is done */
	bool masters;        /* requests under way that do not end */
	bool holds;          /* frames to be sent: nothing comes back until fake_e1000_send() */
	bool silent;         /* frames that it counts as received do not come */
	bool mad;            /* it has written back what it has not sent, and is surprised at nothing */
	bool link;
	uint32_t speed; /* of STATUS */
	uint64_t rx_status; /* more bits of what is written back */
	/* What was seen. */
	struct fake_e1000_frame *sent; /* FAKE_E1000_SENT, around */
	unsigned sent_count;
	unsigned accesses, tdt_writes, rdt_writes, resets, icr_reads;
	uint64_t ticks;
	uint64_t reset_until; /* 0: none is under way */
};

extern struct fake_e1000 fake_e1000;
extern const struct e1000_io fake_e1000_io;
extern const struct clock fake_e1000_clock; /* 10 MHz */

void fake_e1000_init(void);
void fake_e1000_fini(void);
uint32_t fake_e1000_register(uint32_t reg);
/* Whether its interrupt line is high. */
bool fake_e1000_line(void);
void fake_e1000_cause(uint32_t causes);
/* The wire comes and goes. */
void fake_e1000_set_link(bool up, uint32_t speed);
/* A frame comes from the wire; false: there was no room, or it is not received. */
bool fake_e1000_receive(const void *data, uint32_t bytes);
/* Descriptors behind the head of those that it has to receive with; what it writes to the one so far behind it. */
unsigned fake_e1000_rx_free(void);
void fake_e1000_rx_write(unsigned behind, uint64_t word, const void *data, uint32_t bytes);
/* Goes on with the head by @count. */
void fake_e1000_rx_advance(unsigned count);
/* Frames that it has to send and holds; sends @count of them; writes back the one so far behind the head. */
unsigned fake_e1000_tx_held(void);
void fake_e1000_send(unsigned count);
void fake_e1000_tx_write_back(unsigned behind);

#endif
