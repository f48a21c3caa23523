/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory by guest-physical address, page by page. Each page is copied in
 * one masked section under the map's lock: no host virtual address of a guest page
 * is seen here, so that any CPU may ask at any time.
 */
#include "guest/gmem.h"

#include <string.h>

#include "guest/machine.h"
#include "lib/checked.h"

/* The bytes of an access of @left bytes that lie in the page of @addr. */
static size_t piece_at(uint64_t addr, size_t left)
{
	size_t room = PAGE_SIZE - (addr & PAGE_MASK);

	return MIN(left, room);
}

enum status gmem_read(struct vm *vm, gpa_t addr, void *out, size_t len)
{
	const struct host_ops *host = vm->machine->host;
	uint8_t *to = out;

	if (!range_fits(addr.v, len, UINT64_MAX))
		return ST_BAD_ADDRESS;
	for (size_t done = 0; done < len;) {
		size_t part = piece_at(addr.v + done, len - done);
		unsigned long masked = host->mask();
		enum status st = gpmap_read(vm->memory, gpa(addr.v + done), to + done, part);

		host->unmask(masked);
		if (st != ST_OK)
			return st;
		done += part;
	}
	return ST_OK;
}

/* Copies @data, or fills with @byte where @data is NULL. */
static enum status put(struct vm *vm, gpa_t addr, const uint8_t *data, uint8_t byte, size_t len)
{
	const struct host_ops *host = vm->machine->host;

	if (!range_fits(addr.v, len, UINT64_MAX))
		return ST_BAD_ADDRESS;
	for (size_t done = 0; done < len;) {
		size_t part = piece_at(addr.v + done, len - done);
		gpa_t at = gpa(addr.v + done);
		unsigned long masked = host->mask();
		enum status st = data ? gpmap_write(vm->memory, at, data + done, part) :
					gpmap_fill(vm->memory, at, byte, part);

		host->unmask(masked);
		if (st != ST_OK)
			return st;
		done += part;
	}
	return ST_OK;
}

enum status gmem_write(struct vm *vm, gpa_t addr, const void *data, size_t len)
{
	return put(vm, addr, data, 0, len);
}

enum status gmem_fill(struct vm *vm, gpa_t addr, uint8_t byte, size_t len)
{
	return put(vm, addr, NULL, byte, len);
}

/* ---- by linear address ---- */

static enum status translate_piece(struct vcpu *vcpu, gva_t at, unsigned access, gpa_t *out, uint32_t *pf_error,
				   gva_t *fault)
{
	enum status st = gmem_translate(vcpu, at, access, out, pf_error);

	if (st != ST_OK)
		*fault = at;
	return st;
}

enum status gmem_read_linear(struct vcpu *vcpu, gva_t linear, void *out, size_t len, uint32_t *pf_error, gva_t *fault)
{
	for (size_t done = 0; done < len;) {
		size_t part = piece_at(linear.v + done, len - done);
		gpa_t at;
		enum status st = translate_piece(vcpu, gva(linear.v + done), S2_READ, &at, pf_error, fault);

		if (st == ST_OK)
			st = gmem_read(vcpu->vm, at, (uint8_t *)out + done, part);
		if (st != ST_OK)
			return st;
		done += part;
	}
	return ST_OK;
}

enum status gmem_write_linear(struct vcpu *vcpu, gva_t linear, const void *data, size_t len, uint32_t *pf_error,
			      gva_t *fault)
{
	for (size_t done = 0; done < len;) {
		size_t part = piece_at(linear.v + done, len - done);
		gpa_t at;
		enum status st = translate_piece(vcpu, gva(linear.v + done), S2_WRITE, &at, pf_error, fault);

		if (st == ST_OK)
			st = gmem_write(vcpu->vm, at, (const uint8_t *)data + done, part);
		if (st != ST_OK)
			return st;
		done += part;
	}
	return ST_OK;
}
