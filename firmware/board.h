/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the board's device tree says that cannot be found out: which UART is the
 * log and which the operator's, their rates, memory to leave alone. The trees in
 * board/ are compiled into the image; the boot argument `board=` chooses one.
 * What a tree omits takes the value usual on a PC or is discovered (no UART named:
 * firmware probes the usual four; no disk named: it looks on both usual channels). Pure C on top of libfdt.
 * docs/firmware.md has the bindings.
 */
#ifndef CORBEL_FIRMWARE_BOARD_H
#define CORBEL_FIRMWARE_BOARD_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"
#include "lib/status.h"

#define BOARD_RESERVED_MAX 16u
#define BOARD_NAME_MAX 32u
#define BOARD_DEFAULT "pc"

/* Made by the build from board/NAME.dts (board/embed.py). */
struct board_blob {
	const char *name;
	const void *start;
	uint64_t size;
};
extern const struct board_blob board_blobs[];
extern const uint32_t board_blob_count;

struct board_uart {
	bool named; /* the tree names this line */
	uint16_t port;
	uint8_t irq;
	uint32_t baud, clock_hz;
};

struct board_range {
	uint64_t start, len;
};

/* An ATA disk on two blocks of ports. */
struct board_disk {
	bool named; /* the tree names the disk with the writable store */
	uint16_t command, control;
	uint8_t drive; /* 0 or 1 on that channel */
};

struct board {
	char model[BOARD_NAME_MAX];
	struct board_uart log, management;
	unsigned reserved_count;
	struct board_range reserved[BOARD_RESERVED_MAX];
	uint16_t shutdown_port; /* 0 = none */
	struct board_disk store_disk;
};

/* The compiled-in tree called @name; ST_NOT_FOUND with the names there are in @err. */
enum status board_find(const char *name, const struct board_blob **out, struct error *err) MUST_CHECK;

/*
 * Reads a flattened device tree of @size bytes (8-byte aligned) into @out. A
 * damaged blob or a property of the wrong form is an error that names the path
 * and the property.
 */
enum status board_read(const void *blob, uint64_t size, struct board *out, struct error *err) MUST_CHECK;

/* Interrupt line that @port has on a PC, 0 when it is none of the usual four. */
uint8_t board_usual_irq(uint16_t port);

#endif
