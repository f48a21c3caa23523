/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The blob is checked whole before anything is read (fdt_check_header and a walk
 * over all tags), so that a damaged one is an error and not a wrong answer.
 * Source: Devicetree Specification 0.4, sections 2, 3.5 and 5.
 */
#include "firmware/board.h"

#include <libfdt.h>
#include <string.h>

#include "firmware/text.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"

#define UART_CLOCK_USUAL 1843200u
#define UART_BAUD_USUAL 115200u
#define PATH_MAX_CHARS 96
#define IRQ_MAX 15u
#define CELLS_MAX 2

static const struct {
	uint16_t port;
	uint8_t irq;
} usual[] = {{0x3f8, 4}, {0x2f8, 3}, {0x3e8, 4}, {0x2e8, 3}};

uint8_t board_usual_irq(uint16_t port)
{
	for (unsigned i = 0; i < ARRAY_SIZE(usual); i++)
		if (usual[i].port == port)
			return usual[i].irq;
	return 0;
}

enum status board_find(const char *name, const struct board_blob **out, struct error *err)
{
	char names[128] = "", wanted[BOARD_NAME_MAX];
	size_t used = 0;

	for (uint32_t i = 0; i < board_blob_count; i++) {
		if (strcmp(board_blobs[i].name, name) == 0) {
			*out = &board_blobs[i];
			return ST_OK;
		}
		if (used < sizeof(names))
			used += format(names + used, sizeof(names) - used, " %s", board_blobs[i].name);
	}
	return fail(err, ST_NOT_FOUND, "board=%s: there is no such board; there are:%s",
		    log_clean(wanted, sizeof(wanted), name, strlen(name)), names);
}

/* "board tree: PATH/PROPERTY: ..." */
static enum status complain(const void *fdt, int node, const char *property, struct error *err, const char *what)
{
	char path[PATH_MAX_CHARS], clean[PATH_MAX_CHARS];

	if (fdt_get_path(fdt, node, path, sizeof(path)) != 0)
		text_copy(path, sizeof(path), "?", 2);
	return fail(err, ST_INVALID, "board tree: %s, %s: %s", log_clean(clean, sizeof(clean), path, strlen(path)),
		    property, what);
}

/*
 * A property of one 32-bit cell, at most @max. Absent: *out is left alone, with
 * ST_OK, so the caller sets the default first.
 */
static enum status read_cell(const void *fdt, int node, const char *property, uint32_t max, uint32_t *out,
			     struct error *err)
{
	int len;
	const void *p = fdt_getprop(fdt, node, property, &len);

	if (!p)
		return ST_OK;
	if (len != 4)
		return complain(fdt, node, property, err, "must be one cell");
	if (get_be32(p) > max)
		return complain(fdt, node, property, err, "value too large");
	*out = get_be32(p);
	return ST_OK;
}

static enum status read_uart(const void *fdt, int node, struct board_uart *out, struct error *err)
{
	uint32_t port = 0, irq, baud = UART_BAUD_USUAL, clock = UART_CLOCK_USUAL;
	enum status st;

	if (fdt_node_check_compatible(fdt, node, "ns16550a") != 0 &&
	    fdt_node_check_compatible(fdt, node, "ns16550") != 0)
		return complain(fdt, node, "compatible", err, "the only UART known is ns16550a");
	st = read_cell(fdt, node, "corbel,port", UINT16_MAX - 7, &port, err);
	if (st != ST_OK)
		return st;
	if (port == 0)
		return complain(fdt, node, "corbel,port", err, "missing: the first I/O port");
	irq = board_usual_irq((uint16_t)port);
	st = read_cell(fdt, node, "corbel,irq", IRQ_MAX, &irq, err);
	if (st == ST_OK)
		st = read_cell(fdt, node, "current-speed", UINT32_MAX, &baud, err);
	if (st == ST_OK)
		st = read_cell(fdt, node, "clock-frequency", UINT32_MAX, &clock, err);
	if (st != ST_OK)
		return st;
	if (irq == 0)
		return complain(fdt, node, "corbel,irq", err, "missing, and the port is not a usual one");
	if (baud == 0 || baud > clock / 16)
		return complain(fdt, node, "current-speed", err, "not possible with this clock");
	*out = (struct board_uart){true, (uint16_t)port, (uint8_t)irq, baud, clock};
	return ST_OK;
}

static enum status read_disk(const void *fdt, int node, struct board_disk *out, struct error *err)
{
	uint32_t command = 0, control = 0, drive = 0;
	enum status st;

	if (fdt_node_check_compatible(fdt, node, "corbel,ata-pio") != 0)
		return complain(fdt, node, "compatible", err, "the only disk known is corbel,ata-pio");
	st = read_cell(fdt, node, "corbel,port", UINT16_MAX - 7, &command, err);
	if (st == ST_OK)
		st = read_cell(fdt, node, "corbel,control-port", UINT16_MAX, &control, err);
	if (st == ST_OK)
		st = read_cell(fdt, node, "corbel,drive", 1, &drive, err);
	if (st != ST_OK)
		return st;
	if (command == 0)
		return complain(fdt, node, "corbel,port", err, "missing: the first of the eight command ports");
	if (control == 0)
		return complain(fdt, node, "corbel,control-port", err, "missing: the device control port");
	*out = (struct board_disk){true, (uint16_t)command, (uint16_t)control, (uint8_t)drive};
	return ST_OK;
}

/* The node whose path /chosen gives in @property; *node < 0: it gives none. */
static enum status chosen_node(const void *fdt, int chosen, const char *property, int *node, struct error *err)
{
	int len;
	const char *path = fdt_getprop(fdt, chosen, property, &len);

	*node = -1;
	if (!path)
		return ST_OK;
	if (len < 1 || text_length(path, (size_t)len) != (size_t)len - 1)
		return complain(fdt, chosen, property, err, "must be one path");
	*node = fdt_path_offset(fdt, path);
	return *node < 0 ? complain(fdt, chosen, property, err, "names no node") : ST_OK;
}

/* The UART whose path /chosen gives in @property; absent is no error. */
static enum status read_chosen_uart(const void *fdt, int chosen, const char *property, struct board_uart *out,
				    struct error *err)
{
	int node;
	enum status st = chosen_node(fdt, chosen, property, &node, err);

	return st != ST_OK || node < 0 ? st : read_uart(fdt, node, out, err);
}

static enum status read_chosen_disk(const void *fdt, int chosen, const char *property, struct board_disk *out,
				    struct error *err)
{
	int node;
	enum status st = chosen_node(fdt, chosen, property, &node, err);

	return st != ST_OK || node < 0 ? st : read_disk(fdt, node, out, err);
}

/* One number of @cells cells at *p, which moves behind it. */
static uint64_t take_cells(const uint8_t **p, int cells)
{
	uint64_t v = cells == CELLS_MAX ? get_be64(*p) : get_be32(*p);

	*p += cells * 4;
	return v;
}

static enum status read_reserved_node(const void *fdt, int node, int address_cells, int size_cells, struct board *out,
				      struct error *err)
{
	int len;
	const uint8_t *p = fdt_getprop(fdt, node, "reg", &len);
	int pair = (address_cells + size_cells) * 4;

	if (!p)
		return ST_OK; /* placed by an operating system, not by the board */
	if (len % pair != 0)
		return complain(fdt, node, "reg", err, "not a whole number of (address, size) pairs");
	for (const uint8_t *end = p + len; p < end;) {
		struct board_range r = {.start = take_cells(&p, address_cells)};

		r.len = take_cells(&p, size_cells);
		if (r.start + r.len < r.start)
			return complain(fdt, node, "reg", err, "wraps around");
		if (out->reserved_count == BOARD_RESERVED_MAX)
			return complain(fdt, node, "reg", err, "too many reserved ranges");
		out->reserved[out->reserved_count++] = r;
	}
	return ST_OK;
}

static enum status read_reserved(const void *fdt, struct board *out, struct error *err)
{
	int parent = fdt_path_offset(fdt, "/reserved-memory");
	int address_cells, size_cells, node;

	if (parent < 0)
		return ST_OK;
	address_cells = fdt_address_cells(fdt, parent);
	size_cells = fdt_size_cells(fdt, parent);
	if (address_cells < 1 || address_cells > CELLS_MAX || size_cells < 1 || size_cells > CELLS_MAX)
		return complain(fdt, parent, "#address-cells", err, "one or two cells are known");
	fdt_for_each_subnode(node, fdt, parent) {
		enum status st = read_reserved_node(fdt, node, address_cells, size_cells, out, err);

		if (st != ST_OK)
			return st;
	}
	return ST_OK;
}

/* Walks every tag: libfdt's accessors are only safe on a blob whose structure holds. */
static enum status check_structure(const void *fdt, uint64_t size, struct error *err)
{
	int offset = 0, next = 0, depth = 0, code;
	uint32_t tag;

	/* The whole header, whatever version it claims: libfdt reads it before it knows. */
	if (size < FDT_V17_SIZE || size > INT32_MAX)
		return fail(err, ST_TRUNCATED, "board tree: %llu bytes are no device tree", (unsigned long long)size);
	code = fdt_check_header(fdt);
	if (code != 0)
		return fail(err, ST_CORRUPT, "board tree: %s", fdt_strerror(code));
	if (fdt_totalsize(fdt) > size)
		return fail(err, ST_TRUNCATED, "board tree: header says %u bytes, there are %llu", fdt_totalsize(fdt),
			    (unsigned long long)size);
	do {
		offset = next;
		tag = fdt_next_tag(fdt, offset, &next);
		if (next < 0)
			return fail(err, ST_CORRUPT, "board tree: at structure offset %d: %s", offset,
				    fdt_strerror(next));
		/* A length near 2^32 turns libfdt's offset around. */
		if (next <= offset)
			return fail(err, ST_CORRUPT, "board tree: at structure offset %d: length too large", offset);
		depth += tag == FDT_BEGIN_NODE ? 1 : tag == FDT_END_NODE ? -1 : 0;
		if (depth < 0)
			break;
	} while (tag != FDT_END);
	if (depth != 0)
		return fail(err, ST_CORRUPT, "board tree: nodes do not nest");
	return ST_OK;
}

static void read_model(const void *fdt, struct board *out)
{
	int len;
	const char *model = fdt_getprop(fdt, 0, "model", &len);

	if (model && len > 0)
		log_clean(out->model, sizeof(out->model), model, text_length(model, (size_t)len));
}

enum status board_read(const void *blob, uint64_t size, struct board *out, struct error *err)
{
	enum status st = check_structure(blob, size, err);
	uint32_t shutdown_port = 0;
	int chosen;

	if (st != ST_OK)
		return st;
	memset(out, 0, sizeof(*out));
	read_model(blob, out);
	st = read_reserved(blob, out, err);
	chosen = fdt_path_offset(blob, "/chosen");
	if (st != ST_OK || chosen < 0)
		return st;
	st = read_chosen_uart(blob, chosen, "corbel,log", &out->log, err);
	if (st == ST_OK)
		st = read_chosen_uart(blob, chosen, "corbel,management", &out->management, err);
	if (st == ST_OK)
		st = read_chosen_disk(blob, chosen, "corbel,store", &out->store_disk, err);
	if (st == ST_OK)
		st = read_cell(blob, chosen, "corbel,shutdown-port", UINT16_MAX, &shutdown_port, err);
	out->shutdown_port = (uint16_t)shutdown_port;
	return st;
}
