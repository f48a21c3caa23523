/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layouts from the ACPI Specification 6.4, section 5.2; only what is read is filled in.
 */
#include "tests/fakes/acpi_tables.h"

#include <string.h>

#include "lib/bits.h"

#define HEADER 36u
#define FADT_BYTES 244u
#define HPET_BYTES 56u

void acpi_fake_checksum(struct acpi_fake *f, uint32_t at)
{
	uint32_t len = get_le32(f->bytes + at + 4);
	uint8_t sum = 0;

	f->bytes[at + 9] = 0;
	for (uint32_t i = 0; i < len && at + i < ACPI_FAKE_BYTES; i++)
		sum = (uint8_t)(sum + f->bytes[at + i]);
	f->bytes[at + 9] = (uint8_t)-sum;
}

static uint32_t begin(struct acpi_fake *f, const char *name)
{
	uint32_t at = f->end;

	memcpy(f->bytes + at, name, 4);
	f->end += HEADER;
	return at;
}

static void finish(struct acpi_fake *f, uint32_t at)
{
	put_le32(f->bytes + at + 4, f->end - at);
	acpi_fake_checksum(f, at);
	f->end = (uint32_t)align_up(f->end, 16);
}

static void bytes(struct acpi_fake *f, const void *data, uint32_t len)
{
	memcpy(f->bytes + f->end, data, len);
	f->end += len;
}

#define BYTES(f, ...) bytes(f, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void build_dsdt(struct acpi_fake *f)
{
	f->dsdt = begin(f, "DSDT");
	BYTES(f, 0x10, 0x05, '_', 'S', 'B', '_');
	/* Name (\_S5, Package (4) {5, 1, 0, 0}) */
	BYTES(f, 0x08, '_', 'S', '5', '_', 0x12, 0x08, 0x04, 0x0a, 0x05, 0x01, 0x00, 0x00);
	BYTES(f, 0x00, 0x00, 0x00, 0x00);
	finish(f, f->dsdt);
}

static void build_fadt(struct acpi_fake *f)
{
	uint8_t *p;

	f->fadt = begin(f, "FACP");
	p = f->bytes + f->fadt;
	put_le32(p + 40, ACPI_FAKE_BASE + f->dsdt);
	put_le16(p + 46, 9);
	put_le32(p + 48, 0xb2);
	p[52] = 0xf1;
	put_le32(p + 64, 0x604);
	put_le32(p + 76, 0x608);
	put_le32(p + 112, BIT(8) | BIT(10));
	p[116] = 1; /* reset register: I/O, 8 bits, 0xcf9 */
	p[117] = 8;
	put_le64(p + 120, 0xcf9);
	p[128] = 6;
	f->end = f->fadt + FADT_BYTES;
	finish(f, f->fadt);
}

static void build_madt(struct acpi_fake *f)
{
	f->madt = begin(f, "APIC");
	BYTES(f, 0, 0, 0xe0, 0xfe, 1, 0, 0, 0);
	BYTES(f, 0, 8, 0, 0, 1, 0, 0, 0);                             /* CPU: uid 0, APIC 0 */
	BYTES(f, 0, 8, 1, 2, 0, 0, 0, 0);                             /* absent CPU */
	BYTES(f, 9, 16, 0, 0, 0x01, 0x01, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0); /* x2APIC 257, uid 7, capable */
	BYTES(f, 1, 12, 3, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0);          /* I/O APIC 3 */
	BYTES(f, 2, 10, 0, 0, 2, 0, 0, 0, 0, 0);                      /* IRQ 0 is GSI 2 */
	BYTES(f, 2, 10, 0, 9, 9, 0, 0, 0, 0x0f, 0);                   /* IRQ 9 level, low */
	BYTES(f, 4, 6, 0xff, 5, 0, 1);                                /* LINT1 is NMI everywhere */
	finish(f, f->madt);
}

static void build_optional(struct acpi_fake *f)
{
	f->mcfg = begin(f, "MCFG");
	BYTES(f, 0, 0, 0, 0, 0, 0, 0, 0);
	BYTES(f, 0, 0, 0, 0xb0, 0, 0, 0, 0, 1, 0, 0, 0xff, 0, 0, 0, 0);
	finish(f, f->mcfg);

	f->hpet = begin(f, "HPET");
	f->end = f->hpet + HPET_BYTES;
	put_le64(f->bytes + f->hpet + 44, 0xfed00000);
	finish(f, f->hpet);
}

static void build_rsdp(struct acpi_fake *f, bool xsdt)
{
	uint8_t *p = f->bytes + f->rsdp;
	uint8_t sum = 0;

	memcpy(p, "RSD PTR ", 8);
	memcpy(p + 9, "CORBEL", 6);
	p[15] = xsdt ? 2 : 0;
	if (!xsdt)
		put_le32(p + 16, ACPI_FAKE_BASE + f->root);
	for (unsigned i = 0; i < 20; i++)
		sum = (uint8_t)(sum + p[i]);
	p[8] = (uint8_t)-sum;
	if (!xsdt)
		return;
	put_le32(p + 20, 36);
	put_le64(p + 24, ACPI_FAKE_BASE + f->root);
	sum = 0;
	for (unsigned i = 0; i < 36; i++)
		sum = (uint8_t)(sum + p[i]);
	p[32] = (uint8_t)-sum;
}

void acpi_fake_build(struct acpi_fake *f, bool xsdt)
{
	uint32_t tables[4];

	memset(f, 0, sizeof(*f));
	f->rsdp = 0x40;
	f->end = 0x80;
	build_dsdt(f);
	build_fadt(f);
	build_madt(f);
	build_optional(f);
	tables[0] = f->fadt;
	tables[1] = f->madt;
	tables[2] = f->mcfg;
	tables[3] = f->hpet;
	f->root = begin(f, xsdt ? "XSDT" : "RSDT");
	for (unsigned i = 0; i < 4; i++) {
		put_le32(f->bytes + f->end, ACPI_FAKE_BASE + tables[i]);
		f->end += xsdt ? 8 : 4;
	}
	finish(f, f->root);
	build_rsdp(f, xsdt);
}
