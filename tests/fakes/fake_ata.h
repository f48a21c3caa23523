/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An ATA channel with up to two drives behind struct ide_ports, as strict as the
 * standard lets a drive be: a register read in the wrong state, a command without
 * its data or with too much of it ends the test. Faults are chosen by the test. Time
 * moves with each look at a port. Beside it is a bus master engine that reaches one piece of memory, as
 * physical memory below 4 GiB.
 */
#ifndef CORBEL_TESTS_FAKE_ATA_H
#define CORBEL_TESTS_FAKE_ATA_H

#include <stdbool.h>
#include <stdint.h>

#include "firmware/ide.h"

#define FAKE_ATA_COMMAND 0x1f0u
#define FAKE_ATA_CONTROL 0x3f6u
#define FAKE_ATA_ENGINE 0xc000u

enum fake_ata_fault {
	ATA_SOUND,
	ATA_STAYS_BUSY,    /* BSY is never cleared once a command came */
	ATA_NO_DRQ,        /* the command ends, and no data is asked for */
	ATA_ERROR_AT,      /* ERR with fault_error at sector fault_at of the command */
	ATA_DEVICE_FAULT,  /* DF */
	ATA_TOO_MUCH,      /* one sector more than asked for */
	ATA_NEVER_READY,   /* DRDY is never set */
};

struct fake_ata_drive {
	bool present, packet;
	uint16_t identity[256];
	uint8_t *media;
	uint64_t sectors;
	uint32_t sector_bytes;
	enum fake_ata_fault fault;
	uint8_t fault_error;
	uint32_t fault_at;
	unsigned fault_times;  /* the fault is gone after so many commands; 0: it stays */
	unsigned commands, flushes, resets;
	uint8_t last_command;
	uint64_t last_lba;
	uint32_t last_count;
};

struct fake_ata {
	struct fake_ata_drive drive[2];
	bool floating;         /* no controller: every read gives all ones */
	bool stuck_in_reset;
	bool interrupts;       /* may be let through */
	uint8_t *memory;       /* what the engine reaches, */
	uint32_t memory_at, memory_bytes; /* and at which physical addresses */
	bool bus_error;        /* the next transfer ends with one, */
	bool error_is_both;    /* and so does a transfer that the drive ends with an error; */
	bool error_is_silent;  /* such a one has no error in the drive's status */
	bool engine_stuck;     /* an engine at work does not stop, whatever it is told, */
	uint64_t late;         /* and does its transfer at this tick all the same, 0: never */
	unsigned transfers;    /* done */
	unsigned busy_reads;   /* looks at the status until a drive is done with a step */
	uint64_t ticks, hz;    /* of its clock */
};

extern struct fake_ata fake_ata;
extern const struct ide_ports fake_ata_ports;
extern const struct clock fake_ata_clock;

void fake_ata_init(void);
void fake_ata_fini(void);
/* A drive of @sectors with 48-bit addressing when @wide. */
void fake_ata_add(unsigned number, uint64_t sectors, uint32_t sector_bytes, bool wide);

#endif
