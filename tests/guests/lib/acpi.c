/* SPDX-License-Identifier: Apache-2.0 */
/* See acpi.h. Offsets are those of ACPI 6.4, 5.2. */
#include "tests/guests/lib/acpi.h"

#include <string.h>

#include "tests/guests/lib/guest.h"

#define SEARCH_START 0xe0000ull
#define SEARCH_END 0x100000ull
#define RSDP_REVISION 15
#define RSDP_RSDT 16
#define RSDP_V1_BYTES 20
#define RSDP_LENGTH 20
#define RSDP_XSDT 24
#define SDT_LENGTH 4
#define SDT_HEADER 36
#define TABLE_MAX 65536u

#define FADT_DSDT 40
#define FADT_SCI 46
#define FADT_PM1A_EVT 56
#define FADT_PM1A_CNT 64
#define FADT_PM_TMR 76
#define FADT_FLAGS 112
#define FADT_RESET_ADDRESS 120
#define FADT_RESET_VALUE 128

#define AML_BYTE 0x0a

static uint8_t sum(const uint8_t *p, uint32_t len)
{
	uint8_t s = 0;

	while (len--)
		s = (uint8_t)(s + *p++);
	return s;
}

static const uint8_t *sealed(uint64_t at)
{
	const uint8_t *p = (const uint8_t *)at;
	uint32_t len = get_le32(p + SDT_LENGTH);

	CHECK(len >= SDT_HEADER && len < TABLE_MAX, "ACPI table at 0x%llx has %u bytes", (unsigned long long)at, len);
	CHECK(sum(p, len) == 0, "ACPI table at 0x%llx has a wrong checksum", (unsigned long long)at);
	return p;
}

static const uint8_t *find_rsdp(void)
{
	if (boot.rsdp)
		return (const uint8_t *)boot.rsdp;
	for (uint64_t at = SEARCH_START; at < SEARCH_END; at += 16) {
		if (memcmp((const void *)at, "RSD PTR ", 8) == 0 && sum((const uint8_t *)at, RSDP_V1_BYTES) == 0)
			return (const uint8_t *)at;
	}
	return NULL;
}

const uint8_t *acpi_table(const char *signature)
{
	const uint8_t *rsdp = find_rsdp(), *root;
	uint32_t width = 8;

	if (!rsdp)
		return NULL;
	if (rsdp[RSDP_REVISION] < 2) {
		width = 4;
		root = sealed(get_le32(rsdp + RSDP_RSDT));
	} else {
		CHECK(sum(rsdp, get_le32(rsdp + RSDP_LENGTH)) == 0, "the RSDP has a wrong checksum");
		root = sealed(get_le64(rsdp + RSDP_XSDT));
	}
	for (uint32_t i = SDT_HEADER; i < get_le32(root + SDT_LENGTH); i += width) {
		const uint8_t *t = sealed(width == 8 ? get_le64(root + i) : get_le32(root + i));

		if (memcmp(t, signature, 4) == 0)
			return t;
	}
	return NULL;
}

/* The first element of the package named _S5_: 0 and 1 are opcodes, other small numbers one byte behind 0x0a. */
static uint8_t find_s5(const uint8_t *dsdt)
{
	uint32_t len = get_le32(dsdt + SDT_LENGTH);

	for (uint32_t i = SDT_HEADER; i + 9 < len; i++) {
		if (memcmp(dsdt + i, "_S5_\x12", 5) == 0)
			return dsdt[i + 7] == AML_BYTE ? dsdt[i + 8] : dsdt[i + 7];
	}
	fail_with("the DSDT has no _S5");
}

const struct acpi_fixed *acpi_fixed(void)
{
	static struct acpi_fixed f;
	const uint8_t *fadt;

	if (f.pm_tmr)
		return &f;
	fadt = acpi_table("FACP");
	CHECK(fadt, "there is no FADT");
	f.pm1_evt = (uint16_t)get_le32(fadt + FADT_PM1A_EVT);
	f.pm1_cnt = (uint16_t)get_le32(fadt + FADT_PM1A_CNT);
	f.sci = get_le16(fadt + FADT_SCI);
	f.flags = get_le32(fadt + FADT_FLAGS);
	if (get_le32(fadt + SDT_LENGTH) > FADT_RESET_VALUE) {
		f.reset_port = (uint16_t)get_le64(fadt + FADT_RESET_ADDRESS);
		f.reset_value = fadt[FADT_RESET_VALUE];
	}
	f.s5 = find_s5(sealed(get_le32(fadt + FADT_DSDT)));
	f.pm_tmr = (uint16_t)get_le32(fadt + FADT_PM_TMR);
	return &f;
}
