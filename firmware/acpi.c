/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every table is mapped twice: its header for the length, then the whole for the
 * checksum; only then are fields looked at, by offset, against that length.
 * Source: ACPI Specification 6.4, sections 5.2 (tables), 7.4.2 (\_Sx), 20.2 (AML).
 */
#include "firmware/acpi.h"

#include <string.h>

#include "lib/bits.h"
#include "lib/checked.h"

#define RSDP_V1_BYTES 20u
#define RSDP_V2_BYTES 36u
#define RSDP_REVISION 15u
#define RSDP_RSDT 16u
#define RSDP_LENGTH 20u
#define RSDP_XSDT 24u
#define RSDP_ALIGN 16u
#define RSDP_OEM 9u
#define BIOS_AREA 0xe0000u
#define BIOS_AREA_BYTES 0x20000u
#define EBDA_POINTER 0x40eu /* real-mode segment of the extended BIOS data area */
#define EBDA_BYTES 1024u

#define HEADER_BYTES 36u
#define HEADER_LENGTH 4u
#define TABLE_MAX (4u << 20)

#define FADT_MIN 116u /* ACPI 1.0 */
#define FADT_DSDT 40u
#define FADT_SCI 46u
#define FADT_SMI_CMD 48u
#define FADT_ACPI_ENABLE 52u
#define FADT_PM1A_CNT 64u
#define FADT_PM1B_CNT 68u
#define FADT_PM_TMR 76u
#define FADT_FLAGS 112u
#define FADT_RESET_REG 116u
#define FADT_RESET_VALUE 128u
#define FADT_X_DSDT 140u
#define FADT_X_PM1A_CNT 172u
#define FADT_X_PM1B_CNT 184u
#define FADT_X_PM_TMR 208u
#define FADT_FLAG_TMR_32BIT BIT(8)
#define FADT_FLAG_RESET BIT(10)
#define GAS_BYTES 12u

#define MADT_LAPIC_ADDRESS 36u
#define MADT_FLAGS 40u
#define MADT_ENTRIES 44u
#define MADT_FLAG_8259 BIT(0)
#define MADT_LAPIC 0u
#define MADT_IOAPIC 1u
#define MADT_OVERRIDE 2u
#define MADT_LAPIC_NMI 4u
#define MADT_LAPIC_ADDRESS_64 5u
#define MADT_X2APIC 9u
#define MADT_X2APIC_NMI 10u
#define MADT_CPU_ENABLED BIT(0)
#define MADT_CPU_CAPABLE BIT(1)
#define MADT_UID8_ALL 0xffu
#define MADT_ISA_BUS 0u

#define MCFG_ENTRIES 44u
#define MCFG_ENTRY_BYTES 16u
#define HPET_ADDRESS 40u
#define HPET_MIN 56u

#define AML_NAME_OP 0x08
#define AML_PACKAGE_OP 0x12
#define AML_BYTE_PREFIX 0x0a
#define AML_ONE 0x01

/* A table whose length and checksum have been verified. */
struct table {
	const uint8_t *bytes;
	uint32_t len;
	char name[5];
};

static uint8_t sum_of(const uint8_t *p, uint32_t len)
{
	uint8_t sum = 0;

	for (uint32_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + p[i]);
	return sum;
}

static void copy_name(char *to, const uint8_t *from, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		to[i] = from[i] >= 0x20 && from[i] < 0x7f ? (char)from[i] : '?';
	to[len] = '\0';
}

static enum status open_table(const struct phys_reader *mem, uint64_t at, struct table *t, struct error *err)
{
	const uint8_t *h = phys_map(mem, at, HEADER_BYTES);

	if (!h)
		return fail(err, ST_BAD_ADDRESS, "ACPI: table at 0x%llx cannot be read", (unsigned long long)at);
	copy_name(t->name, h, 4);
	t->len = get_le32(h + HEADER_LENGTH);
	if (t->len < HEADER_BYTES || t->len > TABLE_MAX)
		return fail(err, ST_CORRUPT, "ACPI: table %s at 0x%llx claims %u bytes", t->name,
			    (unsigned long long)at, t->len);
	t->bytes = phys_map(mem, at, t->len);
	if (!t->bytes)
		return fail(err, ST_TRUNCATED, "ACPI: table %s at 0x%llx: its %u bytes cannot be read", t->name,
			    (unsigned long long)at, t->len);
	if (sum_of(t->bytes, t->len) != 0)
		return fail(err, ST_CORRUPT, "ACPI: table %s at 0x%llx has a wrong checksum", t->name,
			    (unsigned long long)at);
	return ST_OK;
}

static void skip(struct acpi_info *out, const struct error *why)
{
	if (out->skipped++ == 0)
		out->note = *why;
}

/* For one entry of a table that has more of them than we hold. */
static void skip_entry(struct acpi_info *out, const char *what, unsigned max)
{
	struct error e;

	(void)fail(&e, ST_OVER_LIMIT, "ACPI: more than %u %s, the rest is ignored", max, what);
	skip(out, &e);
}

/* ---- root pointer ---- */

static bool is_rsdp(const uint8_t *p)
{
	return memcmp(p, "RSD PTR ", 8) == 0 && sum_of(p, RSDP_V1_BYTES) == 0;
}

static uint64_t search(const struct phys_reader *mem, uint64_t start, uint32_t len)
{
	const uint8_t *p = phys_map(mem, start, len);

	for (uint32_t at = 0; p && at + RSDP_V2_BYTES <= len; at += RSDP_ALIGN)
		if (is_rsdp(p + at))
			return start + at;
	return 0;
}

static uint64_t search_bios(const struct phys_reader *mem)
{
	const uint8_t *pointer = phys_map(mem, EBDA_POINTER, 2);
	uint64_t ebda = pointer ? (uint64_t)get_le16(pointer) << 4 : 0;
	uint64_t found = ebda ? search(mem, ebda, EBDA_BYTES) : 0;

	return found ? found : search(mem, BIOS_AREA, BIOS_AREA_BYTES);
}

/* A copy of the RSDP in @rsdp; a version 1 structure is filled up with zeroes. */
static enum status get_rsdp(const struct phys_reader *mem, const struct acpi_root *root, uint8_t *rsdp,
			    struct error *err)
{
	const uint8_t *p = root->rsdp;
	uint32_t len = root->rsdp_len;
	uint64_t at = root->rsdp_at;

	if (len == 0) {
		if (at == 0)
			at = search_bios(mem);
		if (at == 0)
			return fail(err, ST_NOT_FOUND, "ACPI: no root pointer (RSDP) found");
		len = RSDP_V2_BYTES;
		p = phys_map(mem, at, len);
		if (!p) {
			len = RSDP_V1_BYTES;
			p = phys_map(mem, at, len);
		}
		if (!p)
			return fail(err, ST_BAD_ADDRESS, "ACPI: RSDP at 0x%llx cannot be read", (unsigned long long)at);
	}
	if (len < RSDP_V1_BYTES)
		return fail(err, ST_TRUNCATED, "ACPI: RSDP of %u bytes", len);
	if (!is_rsdp(p))
		return fail(err, ST_CORRUPT, "ACPI: RSDP has a wrong signature or checksum");
	memset(rsdp, 0, RSDP_V2_BYTES);
	memcpy(rsdp, p, MIN(len, RSDP_V2_BYTES));
	if (rsdp[RSDP_REVISION] < 2) {
		memset(rsdp + RSDP_V1_BYTES, 0, RSDP_V2_BYTES - RSDP_V1_BYTES);
		return ST_OK;
	}
	if (len < RSDP_V2_BYTES || get_le32(rsdp + RSDP_LENGTH) < RSDP_V2_BYTES)
		return fail(err, ST_TRUNCATED, "ACPI: RSDP of revision %u is too short", rsdp[RSDP_REVISION]);
	if (sum_of(rsdp, RSDP_V2_BYTES) != 0 && get_le32(rsdp + RSDP_LENGTH) == RSDP_V2_BYTES)
		return fail(err, ST_CORRUPT, "ACPI: RSDP has a wrong extended checksum");
	return ST_OK;
}

/* ---- MADT ---- */

static void madt_cpu(struct acpi_info *out, uint32_t apic_id, uint32_t uid, uint32_t flags)
{
	if (!(flags & (MADT_CPU_ENABLED | MADT_CPU_CAPABLE)))
		return;
	/* Some firmware lists a processor twice, once as each kind of local APIC. */
	for (unsigned i = 0; i < out->cpu_count; i++) {
		if (out->cpu[i].apic_id != apic_id)
			continue;
		out->cpu[i].enabled |= (flags & MADT_CPU_ENABLED) != 0;
		return;
	}
	if (out->cpu_count == ACPI_CPUS_MAX) {
		skip_entry(out, "processors", ACPI_CPUS_MAX);
		return;
	}
	out->cpu[out->cpu_count++] = (struct acpi_cpu){apic_id, uid, flags & MADT_CPU_ENABLED};
}

static void madt_ioapic(struct acpi_info *out, const uint8_t *e)
{
	if (out->ioapic_count == ACPI_IOAPICS_MAX) {
		skip_entry(out, "I/O APICs", ACPI_IOAPICS_MAX);
		return;
	}
	out->ioapic[out->ioapic_count++] = (struct acpi_ioapic){e[2], get_le32(e + 4), get_le32(e + 8)};
}

static void madt_override(struct acpi_info *out, const uint8_t *e)
{
	if (e[2] != MADT_ISA_BUS)
		return;
	if (out->override_count == ACPI_OVERRIDES_MAX) {
		skip_entry(out, "interrupt overrides", ACPI_OVERRIDES_MAX);
		return;
	}
	out->override[out->override_count++] = (struct acpi_override){e[3], get_le32(e + 4), get_le16(e + 8)};
}

static void madt_nmi(struct acpi_info *out, uint32_t uid, uint8_t lint, uint16_t inti)
{
	if (out->nmi_count == ACPI_NMIS_MAX) {
		skip_entry(out, "local APIC NMI pins", ACPI_NMIS_MAX);
		return;
	}
	out->nmi[out->nmi_count++] = (struct acpi_nmi){uid, lint, inti};
}

/* Least length of an entry of @type; 0 for types that are not read. */
static uint8_t madt_entry_bytes(uint8_t type)
{
	switch (type) {
	case MADT_LAPIC:
		return 8;
	case MADT_IOAPIC:
		return 12;
	case MADT_OVERRIDE:
		return 10;
	case MADT_LAPIC_NMI:
		return 6;
	case MADT_LAPIC_ADDRESS_64:
		return 12;
	case MADT_X2APIC:
		return 16;
	case MADT_X2APIC_NMI:
		return 12;
	default:
		return 0;
	}
}

static void madt_entry(struct acpi_info *out, const uint8_t *e)
{
	switch (e[0]) {
	case MADT_LAPIC:
		madt_cpu(out, e[3], e[2], get_le32(e + 4));
		break;
	case MADT_IOAPIC:
		madt_ioapic(out, e);
		break;
	case MADT_OVERRIDE:
		madt_override(out, e);
		break;
	case MADT_LAPIC_NMI:
		madt_nmi(out, e[2] == MADT_UID8_ALL ? ACPI_ALL_CPUS : e[2], e[5], get_le16(e + 3));
		break;
	case MADT_LAPIC_ADDRESS_64:
		out->lapic_address = get_le64(e + 4);
		break;
	case MADT_X2APIC:
		madt_cpu(out, get_le32(e + 4), get_le32(e + 12), get_le32(e + 8));
		break;
	case MADT_X2APIC_NMI:
		madt_nmi(out, get_le32(e + 4), e[8], get_le16(e + 2));
		break;
	default:
		break;
	}
}

static enum status read_madt(const struct table *t, struct acpi_info *out, struct error *err)
{
	if (t->len < MADT_ENTRIES)
		return fail(err, ST_TRUNCATED, "ACPI: MADT of %u bytes", t->len);
	out->lapic_address = get_le32(t->bytes + MADT_LAPIC_ADDRESS);
	out->has_8259 = get_le32(t->bytes + MADT_FLAGS) & MADT_FLAG_8259;
	for (uint32_t at = MADT_ENTRIES; at < t->len;) {
		const uint8_t *e = t->bytes + at;

		if (t->len - at < 2 || e[1] < 2 || e[1] > t->len - at || e[1] < madt_entry_bytes(e[0]))
			return fail(err, ST_CORRUPT, "ACPI: MADT entry at offset %u has a wrong length", at);
		madt_entry(out, e);
		at += e[1];
	}
	if (out->cpu_count == 0)
		return fail(err, ST_CORRUPT, "ACPI: MADT lists no processor");
	return ST_OK;
}

/* ---- FADT and DSDT ---- */

static struct acpi_address gas_at(const uint8_t *p)
{
	return (struct acpi_address){.space = p[0], .bits = p[1], .address = get_le64(p + 4)};
}

/* The extended field at @x when the table has it and it is set, else the 32-bit port at @legacy. */
static struct acpi_address register_block(const struct table *t, uint32_t legacy, uint32_t x, uint8_t bits)
{
	struct acpi_address a = {ACPI_SPACE_IO, bits, get_le32(t->bytes + legacy)};

	if (range_fits(x, GAS_BYTES, t->len) && get_le64(t->bytes + x + 4) != 0)
		a = gas_at(t->bytes + x);
	return a;
}

/* AML PkgLength: the top two bits of the first byte count the bytes that follow it. */
static uint32_t pkg_length_bytes(uint8_t first)
{
	return 1u + (first >> 6);
}

/* A small integer constant at *at: Zero, One or a byte. False on anything else or the end. */
static bool aml_byte(const struct table *t, uint32_t *at, uint8_t *value)
{
	if (*at < t->len && t->bytes[*at] <= AML_ONE) {
		*value = t->bytes[(*at)++];
		return true;
	}
	if (*at + 1 < t->len && t->bytes[*at] == AML_BYTE_PREFIX) {
		*value = t->bytes[*at + 1];
		*at += 2;
		return true;
	}
	return false;
}

/* Finds Name (\_S5, Package {SLP_TYPa, SLP_TYPb, ...}) by its bytes. */
static void find_s5(const struct table *dsdt, struct acpi_info *out)
{
	for (uint32_t i = HEADER_BYTES + 1; i + 8 < dsdt->len; i++) {
		const uint8_t *p = dsdt->bytes + i;
		bool named = p[-1] == AML_NAME_OP || (p[-1] == '\\' && p[-2] == AML_NAME_OP);
		uint32_t at;

		if (!named || memcmp(p, "_S5_", 4) != 0 || p[4] != AML_PACKAGE_OP)
			continue;
		at = i + 5 + pkg_length_bytes(p[5]) + 1; /* over PkgLength and NumElements */
		if (!aml_byte(dsdt, &at, &out->s5_type_a))
			continue;
		if (!aml_byte(dsdt, &at, &out->s5_type_b))
			out->s5_type_b = 0;
		out->s5_known = true;
		return;
	}
}

static void read_dsdt(const struct phys_reader *mem, const struct table *fadt, struct acpi_info *out)
{
	uint64_t at = get_le32(fadt->bytes + FADT_DSDT);
	struct table dsdt;
	struct error e;

	if (range_fits(FADT_X_DSDT, 8, fadt->len) && get_le64(fadt->bytes + FADT_X_DSDT) != 0)
		at = get_le64(fadt->bytes + FADT_X_DSDT);
	if (at == 0)
		return;
	if (open_table(mem, at, &dsdt, &e) == ST_OK)
		find_s5(&dsdt, out);
	else
		skip(out, &e);
}

static enum status read_fadt(const struct phys_reader *mem, const struct table *t, struct acpi_info *out,
			     struct error *err)
{
	uint32_t flags;

	if (t->len < FADT_MIN)
		return fail(err, ST_TRUNCATED, "ACPI: FADT of %u bytes", t->len);
	flags = get_le32(t->bytes + FADT_FLAGS);
	out->sci_irq = get_le16(t->bytes + FADT_SCI);
	out->smi_command = get_le32(t->bytes + FADT_SMI_CMD);
	out->acpi_enable = t->bytes[FADT_ACPI_ENABLE];
	out->pm1a_control = register_block(t, FADT_PM1A_CNT, FADT_X_PM1A_CNT, 16);
	out->pm1b_control = register_block(t, FADT_PM1B_CNT, FADT_X_PM1B_CNT, 16);
	out->pm_timer = register_block(t, FADT_PM_TMR, FADT_X_PM_TMR, 32);
	out->pm_timer_32bit = flags & FADT_FLAG_TMR_32BIT;
	if ((flags & FADT_FLAG_RESET) && FADT_RESET_VALUE < t->len) {
		out->reset = gas_at(t->bytes + FADT_RESET_REG);
		out->reset_value = t->bytes[FADT_RESET_VALUE];
	}
	read_dsdt(mem, t, out);
	return ST_OK;
}

/* ---- optional tables ---- */

static void read_mcfg(const struct table *t, struct acpi_info *out)
{
	for (uint32_t at = MCFG_ENTRIES; range_fits(at, MCFG_ENTRY_BYTES, t->len); at += MCFG_ENTRY_BYTES) {
		const uint8_t *e = t->bytes + at;

		if (out->mcfg_count == ACPI_MCFG_MAX) {
			skip_entry(out, "PCI segments", ACPI_MCFG_MAX);
			return;
		}
		if (e[11] < e[10])
			continue; /* no bus in it */
		out->mcfg[out->mcfg_count++] = (struct acpi_mcfg){get_le64(e), get_le16(e + 8), e[10], e[11]};
	}
}

static void read_hpet(const struct table *t, struct acpi_info *out)
{
	struct acpi_address a;
	struct error e;

	if (t->len < HPET_MIN) {
		(void)fail(&e, ST_TRUNCATED, "ACPI: HPET of %u bytes", t->len);
		skip(out, &e);
		return;
	}
	a = gas_at(t->bytes + HPET_ADDRESS);
	if (a.space == ACPI_SPACE_MEMORY)
		out->hpet_address = a.address;
}

/* ---- the root table ---- */

static bool is_required(const char *name)
{
	return strcmp(name, "APIC") == 0 || strcmp(name, "FACP") == 0;
}

/* One table that the root names: ours are read, others are not even checked. */
static enum status read_table(const struct phys_reader *mem, uint64_t at, struct acpi_info *out, struct error *err)
{
	const uint8_t *h = phys_map(mem, at, HEADER_BYTES);
	struct table t = {0};
	struct error e;
	enum status st;

	if (h)
		copy_name(t.name, h, 4);
	if (h && !is_required(t.name) && strcmp(t.name, "MCFG") != 0 && strcmp(t.name, "HPET") != 0)
		return ST_OK;
	st = open_table(mem, at, &t, &e);
	if (st != ST_OK && h && is_required(t.name))
		return fail(err, st, "%s", e.text);
	if (st != ST_OK) {
		skip(out, &e);
		return ST_OK;
	}
	if (strcmp(t.name, "APIC") == 0)
		return read_madt(&t, out, err);
	if (strcmp(t.name, "FACP") == 0)
		return read_fadt(mem, &t, out, err);
	if (strcmp(t.name, "MCFG") == 0)
		read_mcfg(&t, out);
	else
		read_hpet(&t, out);
	return ST_OK;
}

enum status acpi_read(const struct phys_reader *mem, const struct acpi_root *root, struct acpi_info *out,
		      struct error *err)
{
	uint8_t rsdp[RSDP_V2_BYTES];
	uint32_t entry_bytes = 8;
	struct table t;
	uint64_t at;
	enum status st;

	memset(out, 0, sizeof(*out));
	st = get_rsdp(mem, root, rsdp, err);
	if (st != ST_OK)
		return st;
	out->revision = rsdp[RSDP_REVISION];
	copy_name(out->oem, rsdp + RSDP_OEM, 6);
	at = get_le64(rsdp + RSDP_XSDT);
	if (at == 0) {
		at = get_le32(rsdp + RSDP_RSDT);
		entry_bytes = 4;
	}
	st = open_table(mem, at, &t, err);
	for (uint32_t i = HEADER_BYTES; st == ST_OK && range_fits(i, entry_bytes, t.len); i += entry_bytes)
		st = read_table(mem, entry_bytes == 8 ? get_le64(t.bytes + i) : get_le32(t.bytes + i), out, err);
	if (st == ST_OK && out->cpu_count == 0)
		return fail(err, ST_NOT_FOUND, "ACPI: no MADT, so processors and interrupt controllers are unknown");
	out->present = st == ST_OK;
	return st;
}

const struct acpi_override *acpi_override_of(const struct acpi_info *info, uint8_t irq)
{
	for (unsigned i = 0; i < info->override_count; i++)
		if (info->override[i].irq == irq)
			return &info->override[i];
	return NULL;
}
