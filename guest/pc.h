/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where things are in the PC that a guest sees: ports, interrupt inputs, the
 * ACPI register blocks. The devices claim these ranges and the guest's ACPI
 * tables describe them; both read this file, so that they cannot disagree.
 * The numbers are those of the IBM PC/AT and its successors (Intel 82371,
 * ICH9) where software has them built in, and free choices where ACPI says
 * where to look.
 */
#ifndef CORBEL_GUEST_PC_H
#define CORBEL_GUEST_PC_H

/* ---- interrupts ---- */

/* ISA interrupt requests: inputs of the 8259 pair. */
#define PC_IRQ_PIT 0u
#define PC_IRQ_CASCADE 2u
#define PC_IRQ_COM1 4u
#define PC_IRQ_RTC 8u
#define PC_IRQ_SCI 9u
#define PC_ISA_IRQS 16u

/*
 * IO-APIC inputs: ISA interrupt n is input n, but interrupt 0 is input 2 (MADT: one override 0 -> 2,
 * conforming, and one 9 -> 9, active high, level). Input 0 is not connected.
 */
#define PC_GSI_PIT 2u
#define PC_GSI_COM1 4u
#define PC_GSI_RTC 8u
#define PC_GSI_SCI 9u
#define PC_GSI_COUNT 24u
#define PC_GSI_BASE 0u

#define PC_IOAPIC_BASE 0xfec00000ull
#define PC_IOAPIC_SIZE 0x1000u
#define PC_IOAPIC_ID 0u
#define PC_LAPIC_BASE 0xfee00000ull
#define PC_LAPIC_NMI_LINT 1u /* MADT local APIC NMI entry: LINT1 of every processor */

/* ---- PCI: bus 0 alone ---- */

#define PC_ECAM_BASE 0xe0000000ull      /* MCFG */
#define PC_ECAM_SIZE 0x100000u          /* of one bus */
#define PC_PCI_LOW_START 0xc0000000ull  /* what the host bridge forwards below 4 GiB: _CRS */
#define PC_PCI_LOW_SIZE 0x20000000ull
#define PC_PCI_HIGH_SIZE 0x40000000ull  /* above the RAM that is above 4 GiB, aligned to its size */
#define PC_PCI_IO_START 0x1000u
#define PC_PCI_IO_SIZE 0xf000u
#define PC_PORT_PCI_CONFIG 0xcf8u       /* address 0xcf8, data 0xcfc..0xcff */

/* ---- ports ---- */

#define PC_PORT_PIC_MASTER 0x20u /* 0x20, 0x21 */
#define PC_PORT_PIC_SLAVE 0xa0u  /* 0xa0, 0xa1 */
#define PC_PORT_PIC_ELCR 0x4d0u  /* 0x4d0, 0x4d1 */
#define PC_PORT_PIT 0x40u        /* 0x40..0x43 */
#define PC_PORT_NMI_SC 0x61u     /* speaker, gate and output of PIT channel 2 */
#define PC_PORT_KBD_DATA 0x60u   /* no keyboard controller: all ones */
#define PC_PORT_KBD_CMD 0x64u    /* all ones; a write of 0xfe resets */
#define PC_PORT_RTC 0x70u        /* 0x70 index, 0x71 data */
#define PC_PORT_POST 0x80u
#define PC_PORT_FAST_A20 0x92u   /* bit 0: reset */
#define PC_PORT_DEBUG_EXIT 0xf4u /* 0xf4..0xf7, when the definition asks for it */
#define PC_PORT_COM1 0x3f8u      /* 0x3f8..0x3ff */
#define PC_PORT_RESET 0xcf9u     /* one byte; write PC_RESET_VALUE */
#define PC_RESET_VALUE 0x06u

#define PC_KBD_CMD_RESET 0xfeu
#define PC_RTC_CENTURY 0x32u     /* CMOS index of the century: FADT.CENTURY */
#define PC_RTC_DAY_ALARM 0u      /* FADT.DAY_ALRM, MON_ALRM: none */

/* ---- ACPI fixed hardware (ACPI 6.4, 4.8.3) ---- */

/*
 * There is no SMI command port: the machine is always in ACPI mode, SCI_EN reads 1 (FADT: SMI_CMD,
 * ACPI_ENABLE, ACPI_DISABLE are 0). There is no sleep button, no GPE block, no RTC wake status
 * (FADT flags SLP_BUTTON and FIX_RTC are set); the power button is fixed hardware (PWR_BUTTON is 0).
 */
#define PC_PM_BASE 0x600u
#define PC_PM1_EVT PC_PM_BASE         /* PM1a_STS 0x600, PM1a_EN 0x602 */
#define PC_PM1_EVT_LEN 4u
#define PC_PM1_CNT (PC_PM_BASE + 4u)  /* PM1a_CNT 0x604 */
#define PC_PM1_CNT_LEN 2u
#define PC_PM_TMR (PC_PM_BASE + 8u)   /* PM_TMR 0x608 */
#define PC_PM_TMR_LEN 4u
#define PC_PM_LEN 12u
#define PC_PM_TMR_BITS 32u            /* FADT flag TMR_VAL_EXT is set */
#define PC_PM_TMR_HZ 3579545u

/* The only sleep state: S5. DSDT: Name (_S5, Package () { 5, 5, 0, 0 }). */
#define PC_S5_SLP_TYP 5u

#endif
