/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ACPI tables of a guest: what a kernel needs to find the APICs, the PM
 * timer, the power button, reset and power-off, PCI, and the few legacy devices.
 * The DSDT is compiled at build time and the same for all; what of the PCI host
 * bridge depends on the guest is in two integers of an SSDT, which are few bytes.
 * Everything lies below 1 MiB, where kernels search for the RSDP; an RSDT stands
 * beside the XSDT for those that know no other.
 * Source: ACPI 6.4, 5.2.
 */
#include "guest/acpi_tables.h"

#include <string.h>

#include "guest/pc.h"
#include "lib/assert.h"

static const uint8_t dsdt[] = {
#include "gen/guest_dsdt.inc"
};

#define OEM_ID "CORBEL"
#define OEM_TABLE_ID "CORBELVM"
#define CREATOR_ID "CRBL"
#define TABLE_ALIGN 16u

struct sdt_header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem_id[6], oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
};
_Static_assert(sizeof(struct sdt_header) == 36, "ACPI 5.2.6");

struct rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum, reserved[3];
} __attribute__((packed));
_Static_assert(sizeof(struct rsdp) == 36, "ACPI 5.2.5.3");
#define RSDP_V1_BYTES 20u

/* Generic address structure. */
struct gas {
	uint8_t space, bits, offset, access;
	uint64_t address;
} __attribute__((packed));
#define GAS_IO 1u
#define GAS_BYTE 1u
#define GAS_WORD 2u
#define GAS_DWORD 3u

struct fadt {
	struct sdt_header header;
	uint32_t firmware_ctrl, dsdt;
	uint8_t reserved0, preferred_pm_profile;
	uint16_t sci_int;
	uint32_t smi_cmd;
	uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
	uint32_t pm1a_evt_blk, pm1b_evt_blk, pm1a_cnt_blk, pm1b_cnt_blk, pm2_cnt_blk, pm_tmr_blk, gpe0_blk, gpe1_blk;
	uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len, gpe0_blk_len, gpe1_blk_len, gpe1_base, cst_cnt;
	uint16_t p_lvl2_lat, p_lvl3_lat, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alrm, mon_alrm, century;
	uint16_t iapc_boot_arch;
	uint8_t reserved1;
	uint32_t flags;
	struct gas reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_version;
	uint64_t x_firmware_ctrl, x_dsdt;
	struct gas x_pm1a_evt_blk, x_pm1b_evt_blk, x_pm1a_cnt_blk, x_pm1b_cnt_blk, x_pm2_cnt_blk, x_pm_tmr_blk;
	struct gas x_gpe0_blk, x_gpe1_blk, sleep_control_reg, sleep_status_reg;
	char hypervisor[8];
} __attribute__((packed));
_Static_assert(sizeof(struct fadt) == 276, "ACPI 5.2.9");

#define PROFILE_ENTERPRISE_SERVER 4u
#define FADT_WBINVD BIT(0)
#define FADT_PROC_C1 BIT(2)
#define FADT_SLP_BUTTON BIT(5) /* not a fixed feature: there is none */
#define FADT_FIX_RTC BIT(6)    /* RTC wake status is not in fixed register space */
#define FADT_TMR_VAL_EXT BIT(8)
#define FADT_RESET_REG_SUP BIT(10)
#define BOOT_LEGACY_DEVICES BIT(0)
#define BOOT_VGA_NOT_PRESENT BIT(2) /* and no 8042: bit 1 is clear */
#define LATENCY_NO_C2 101u
#define LATENCY_NO_C3 1001u

struct madt {
	struct sdt_header header;
	uint32_t local_apic, flags;
};
#define MADT_PCAT_COMPAT BIT(0)

struct madt_local_apic {
	uint8_t type, length, uid, apic_id;
	uint32_t flags;
};
struct madt_io_apic {
	uint8_t type, length, id, reserved;
	uint32_t address, gsi_base;
};
struct madt_override {
	uint8_t type, length, bus, source;
	uint32_t gsi;
	uint16_t flags;
} __attribute__((packed));
struct madt_nmi {
	uint8_t type, length, uid;
	uint16_t flags;
	uint8_t lint;
} __attribute__((packed));
_Static_assert(sizeof(struct madt_local_apic) == 8 && sizeof(struct madt_io_apic) == 12, "ACPI 5.2.12");
_Static_assert(sizeof(struct madt_override) == 10 && sizeof(struct madt_nmi) == 6, "ACPI 5.2.12");

enum madt_type { MADT_LOCAL_APIC = 0, MADT_IO_APIC = 1, MADT_OVERRIDE = 2, MADT_LOCAL_NMI = 4 };
#define MADT_ENABLED BIT(0)
#define MADT_ALL_PROCESSORS 0xffu
#define MPS_CONFORMING 0u
#define MPS_ACTIVE_HIGH 1u
#define MPS_LEVEL (3u << 2)

struct mcfg {
	struct sdt_header header;
	uint8_t reserved[8];
	/* One segment. */
	uint64_t base;
	uint16_t segment;
	uint8_t first_bus, last_bus;
	uint32_t reserved1;
} __attribute__((packed));
_Static_assert(sizeof(struct mcfg) == 60, "PCI Firmware 3.2, 4.1.2");

/* Name (\XXXX, 0x...): ACPI 20.2.5.1. */
struct aml_integer {
	uint8_t op, root;
	char name[4];
	uint8_t prefix;
	uint64_t value;
} __attribute__((packed));
_Static_assert(sizeof(struct aml_integer) == 15, "ACPI 20.2");
#define AML_NAME 0x08u
#define AML_ROOT '\\'
#define AML_QWORD 0x0eu

struct facs {
	char signature[4];
	uint32_t length, hardware_signature, waking_vector, global_lock, flags;
	uint64_t x_waking_vector;
	uint8_t version, reserved[31];
};
_Static_assert(sizeof(struct facs) == ACPI_FACS_BYTES, "ACPI 5.2.10");
#define FACS_VERSION 2u

/* The block under construction. */
struct block {
	uint8_t *out;
	uint64_t base;
	size_t used;
};

static uint8_t checksum(const void *p, size_t len)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + ((const uint8_t *)p)[i]);
	return (uint8_t)-sum;
}

/* Zeroed room for @size bytes at the next aligned place. */
static void *take(struct block *b, size_t size)
{
	size_t at = (size_t)align_up(b->used, TABLE_ALIGN);

	ASSERT(at + size <= ACPI_TABLES_BYTES);
	b->used = at + size;
	return memset(b->out + at, 0, size);
}

/* The next entry of the table that was begun last: no padding. */
static void *extend(struct block *b, size_t size)
{
	void *p = b->out + b->used;

	ASSERT(b->used + size <= ACPI_TABLES_BYTES);
	b->used += size;
	return memset(p, 0, size);
}

static uint64_t address_of(const struct block *b, const void *p)
{
	return b->base + (uint64_t)((const uint8_t *)p - b->out);
}

/* Closes @table, which take() began and which reaches to the end of what is used; returns its address. */
static uint64_t seal(struct block *b, void *table, const char *signature, uint8_t revision)
{
	struct sdt_header *h = table;

	memcpy(h->signature, signature, sizeof h->signature);
	h->length = (uint32_t)(b->out + b->used - (uint8_t *)h);
	h->revision = revision;
	memcpy(h->oem_id, OEM_ID, sizeof h->oem_id);
	memcpy(h->oem_table_id, OEM_TABLE_ID, sizeof h->oem_table_id);
	h->oem_revision = 1;
	memcpy(h->creator_id, CREATOR_ID, sizeof h->creator_id);
	h->creator_revision = 1;
	h->checksum = 0;
	h->checksum = checksum(h, h->length);
	return address_of(b, h);
}

static struct gas io_register(uint16_t port, unsigned bytes, uint8_t access)
{
	return (struct gas){.space = GAS_IO, .bits = (uint8_t)(bytes * 8), .access = access, .address = port};
}

static void fill_pm_blocks(struct fadt *f)
{
	f->pm1a_evt_blk = PC_PM1_EVT;
	f->pm1_evt_len = PC_PM1_EVT_LEN;
	f->x_pm1a_evt_blk = io_register(PC_PM1_EVT, PC_PM1_EVT_LEN, GAS_WORD);
	f->pm1a_cnt_blk = PC_PM1_CNT;
	f->pm1_cnt_len = PC_PM1_CNT_LEN;
	f->x_pm1a_cnt_blk = io_register(PC_PM1_CNT, PC_PM1_CNT_LEN, GAS_WORD);
	f->pm_tmr_blk = PC_PM_TMR;
	f->pm_tmr_len = PC_PM_TMR_LEN;
	f->x_pm_tmr_blk = io_register(PC_PM_TMR, PC_PM_TMR_LEN, GAS_DWORD);
}

static uint64_t add_fadt(struct block *b, uint64_t dsdt_at, uint64_t facs)
{
	struct fadt *f = take(b, sizeof *f);

	_Static_assert(PC_PM_TMR_BITS == 32, "FADT flag TMR_VAL_EXT");
	f->firmware_ctrl = (uint32_t)facs;
	f->x_firmware_ctrl = facs;
	f->dsdt = (uint32_t)dsdt_at;
	f->x_dsdt = dsdt_at;
	f->preferred_pm_profile = PROFILE_ENTERPRISE_SERVER;
	f->sci_int = PC_IRQ_SCI;
	fill_pm_blocks(f);
	f->p_lvl2_lat = LATENCY_NO_C2;
	f->p_lvl3_lat = LATENCY_NO_C3;
	f->day_alrm = f->mon_alrm = PC_RTC_DAY_ALARM;
	f->century = PC_RTC_CENTURY;
	f->iapc_boot_arch = BOOT_LEGACY_DEVICES | BOOT_VGA_NOT_PRESENT;
	f->flags = FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_FIX_RTC | FADT_TMR_VAL_EXT | FADT_RESET_REG_SUP;
	f->reset_reg = io_register(PC_PORT_RESET, 1, GAS_BYTE);
	f->reset_value = PC_RESET_VALUE;
	f->minor_version = 4;
	memcpy(f->hypervisor, "Corbel", sizeof "Corbel");
	return seal(b, f, "FACP", 6);
}

static void add_override(struct block *b, uint8_t source, uint32_t gsi, uint16_t flags)
{
	struct madt_override *o = extend(b, sizeof *o);

	*o = (struct madt_override){.type = MADT_OVERRIDE, .length = sizeof *o, .source = source, .gsi = gsi,
				    .flags = flags};
}

static uint64_t add_madt(struct block *b, unsigned vcpus)
{
	struct madt *m = take(b, sizeof *m);
	struct madt_io_apic *io;
	struct madt_nmi *nmi;

	m->local_apic = (uint32_t)PC_LAPIC_BASE;
	m->flags = MADT_PCAT_COMPAT;
	for (unsigned i = 0; i < vcpus; i++) {
		struct madt_local_apic *l = extend(b, sizeof *l);

		*l = (struct madt_local_apic){.type = MADT_LOCAL_APIC, .length = sizeof *l, .uid = (uint8_t)i,
					      .apic_id = (uint8_t)i, .flags = MADT_ENABLED};
	}
	io = extend(b, sizeof *io);
	*io = (struct madt_io_apic){.type = MADT_IO_APIC, .length = sizeof *io, .id = PC_IOAPIC_ID,
				    .address = (uint32_t)PC_IOAPIC_BASE, .gsi_base = PC_GSI_BASE};
	add_override(b, PC_IRQ_PIT, PC_GSI_PIT, MPS_CONFORMING);
	add_override(b, PC_IRQ_SCI, PC_GSI_SCI, MPS_ACTIVE_HIGH | MPS_LEVEL);
	nmi = extend(b, sizeof *nmi);
	*nmi = (struct madt_nmi){.type = MADT_LOCAL_NMI, .length = sizeof *nmi, .uid = MADT_ALL_PROCESSORS,
				 .flags = MPS_CONFORMING, .lint = PC_LAPIC_NMI_LINT};
	return seal(b, m, "APIC", 5);
}

static uint64_t add_mcfg(struct block *b)
{
	struct mcfg *m = take(b, sizeof *m);

	m->base = PC_ECAM_BASE; /* bus 0 to bus 0 of segment 0 */
	return seal(b, m, "MCFG", 1);
}

static void add_integer(struct block *b, const char name[4], uint64_t value)
{
	struct aml_integer *i = extend(b, sizeof *i);

	i->op = AML_NAME;
	i->root = AML_ROOT;
	memcpy(i->name, name, sizeof i->name);
	i->prefix = AML_QWORD;
	i->value = value;
}

static uint64_t add_ssdt(struct block *b, struct vpci_high high)
{
	struct sdt_header *h = take(b, sizeof *h);

	add_integer(b, "PCHB", high.start);
	add_integer(b, "PCHL", high.length);
	return seal(b, h, "SSDT", 2);
}

/* RSDT (@width 4) or XSDT (8). */
static uint64_t add_root(struct block *b, const char *signature, size_t width, const uint64_t *tables, unsigned count)
{
	struct sdt_header *h = take(b, sizeof *h);

	for (unsigned i = 0; i < count; i++)
		memcpy(extend(b, width), &tables[i], width);
	return seal(b, h, signature, 1);
}

size_t acpi_tables_fill(uint8_t *out, uint64_t base, uint64_t facs, unsigned vcpus, struct vpci_high high)
{
	struct block b = {.out = out, .base = base};
	struct rsdp *r = take(&b, sizeof *r);
	uint8_t *code = take(&b, sizeof dsdt);
	uint64_t tables[4];

	memcpy(code, dsdt, sizeof dsdt);
	tables[0] = add_fadt(&b, address_of(&b, code), facs);
	tables[1] = add_madt(&b, vcpus);
	tables[2] = add_mcfg(&b);
	tables[3] = add_ssdt(&b, high);
	memcpy(r->signature, "RSD PTR ", sizeof r->signature);
	memcpy(r->oem_id, OEM_ID, sizeof r->oem_id);
	r->revision = 2;
	r->length = sizeof *r;
	r->rsdt = (uint32_t)add_root(&b, "RSDT", 4, tables, ARRAY_SIZE(tables));
	r->xsdt = add_root(&b, "XSDT", 8, tables, ARRAY_SIZE(tables));
	r->checksum = checksum(r, RSDP_V1_BYTES);
	r->extended_checksum = checksum(r, sizeof *r);
	return b.used;
}

void acpi_facs_fill(uint8_t *out)
{
	struct facs f = {.length = sizeof f, .version = FACS_VERSION};

	memcpy(f.signature, "FACS", sizeof f.signature);
	memcpy(out, &f, sizeof f);
}
