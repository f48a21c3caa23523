/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI tables from outside. The first byte chooses: even, the rest is memory at
 * the BIOS area as it is; odd, the rest patches a good set of tables (offset,
 * value) and the checksums are made right again, so that mutations reach the parsers.
 */
#include <stdlib.h>
#include <string.h>

#include "firmware/acpi.h"
#include "lib/bits.h"
#include "tests/fakes/acpi_tables.h"
#include "tests/fakes/phys_buffer.h"

#define PATCH_BYTES 3u

static void check_result(const struct acpi_info *info)
{
	if (info->cpu_count == 0 || info->cpu_count > ACPI_CPUS_MAX || info->ioapic_count > ACPI_IOAPICS_MAX ||
	    info->override_count > ACPI_OVERRIDES_MAX || info->nmi_count > ACPI_NMIS_MAX ||
	    info->mcfg_count > ACPI_MCFG_MAX)
		abort();
	if (info->skipped > 0 && info->note.text[0] == '\0')
		abort();
}

static void read_tables(const uint8_t *bytes, size_t len, uint64_t rsdp_at)
{
	static struct acpi_info info;
	struct phys_buffer b = {.base = ACPI_FAKE_BASE, .bytes = bytes, .len = len};
	struct phys_reader mem = phys_buffer_reader(&b);
	struct acpi_root root = {.rsdp_at = rsdp_at};
	struct error err = {""};

	if (acpi_read(&mem, &root, &info, &err) == ST_OK)
		check_result(&info);
	else if (err.text[0] == '\0' || info.present)
		abort();
}

static void patch_and_read(const uint8_t *data, size_t size)
{
	struct acpi_fake *f = malloc(sizeof(*f));

	acpi_fake_build(f, !(data[0] & 2));
	for (size_t i = 1; i + PATCH_BYTES <= size; i += PATCH_BYTES)
		f->bytes[get_le16(data + i) % ACPI_FAKE_BYTES] = data[i + 2];
	acpi_fake_checksum(f, f->dsdt);
	acpi_fake_checksum(f, f->fadt);
	acpi_fake_checksum(f, f->madt);
	acpi_fake_checksum(f, f->mcfg);
	acpi_fake_checksum(f, f->hpet);
	acpi_fake_checksum(f, f->root);
	read_tables(f->bytes, sizeof(f->bytes), ACPI_FAKE_BASE + f->rsdp);
	free(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] & 1)
		patch_and_read(data, size);
	else
		read_tables(data + 1, size - 1, ACPI_FAKE_BASE);
	return 0;
}
