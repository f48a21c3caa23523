/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registers and descriptors of Intel's 8254x and of those that follow them (82571 to 82574: "e1000e"), as far as the
 * driver uses them, by their names in the manual.
 * Source: PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual (317453), chapters 3, 13 and 14;
 * where the 82574 differs: 82574 GbE Controller Family Datasheet (317694), chapter 10.
 */
#ifndef CORBEL_FIRMWARE_E1000_REGS_H
#define CORBEL_FIRMWARE_E1000_REGS_H

#include <stdint.h>

#include "lib/bits.h"

#define E1000_REGISTER_BYTES 0x20000u /* of BAR 0 */

/* 13.4.1 */
#define E1000_CTRL 0x0000u
#define E1000_CTRL_FD 0x00000001u
#define E1000_CTRL_MASTER_DISABLE 0x00000004u /* 82571 and later */
#define E1000_CTRL_SLU 0x00000040u            /* the PHY's link is the MAC's */
#define E1000_CTRL_RST 0x04000000u            /* clears itself */

/* 13.4.2 */
#define E1000_STATUS 0x0008u
#define E1000_STATUS_LU 0x00000002u
#define E1000_STATUS_SPEED(v) FIELD(v, 7, 6)   /* 0: 10 Mb/s, 1: 100, 2 and 3: 1000 */
#define E1000_STATUS_MASTER_ENABLE 0x00080000u /* 82571 and later: requests may be under way */

/* 13.4.4: a word of the EEPROM. Where address and DONE are differs: struct e1000_model. */
#define E1000_EERD 0x0014u
#define E1000_EERD_START 0x00000001u
#define E1000_EERD_DATA_SHIFT 16

/* 13.4.17 to 13.4.21. Reading the causes takes them back. */
#define E1000_ICR 0x00c0u
#define E1000_ICS 0x00c8u
#define E1000_IMS 0x00d0u
#define E1000_IMC 0x00d8u
#define E1000_INT_TXDW 0x00000001u   /* a descriptor of a sent frame is written back */
#define E1000_INT_LSC 0x00000004u    /* the link has changed */
#define E1000_INT_RXDMT0 0x00000010u /* few free buffers are left */
#define E1000_INT_RXO 0x00000040u    /* there was no room for a frame */
#define E1000_INT_RXT0 0x00000080u   /* a frame is there */

/* 13.4.22 */
#define E1000_RCTL 0x0100u
#define E1000_RCTL_EN 0x00000002u
#define E1000_RCTL_UPE 0x00000008u   /* all unicast addresses */
#define E1000_RCTL_MPE 0x00000010u   /* all multicast addresses */
#define E1000_RCTL_BAM 0x00008000u   /* broadcasts */
#define E1000_RCTL_SECRC 0x04000000u /* without the check sequence */
/* BSIZE and BSEX 0: buffers of 2048 bytes; LPE 0: no frame of more than 1522 bytes with check sequence. */

/* 13.4.33 */
#define E1000_TCTL 0x0400u
#define E1000_TCTL_EN 0x00000002u
#define E1000_TCTL_PSP 0x00000008u /* short frames are padded */
#define E1000_TCTL_CT 0x000000f0u  /* 15 attempts, half duplex */
#define E1000_TCTL_COLD 0x00040000u /* 64 byte times */

/* 13.4.34: IPGT, IPGR1, IPGR2 */
#define E1000_TIPG 0x0410u
#define E1000_TIPG_OF(t, r1, r2) ((uint32_t)(t) | (uint32_t)(r1) << 10 | (uint32_t)(r2) << 20)

/* A ring's registers: 13.4.25 to 13.4.29, 13.4.36 to 13.4.40. */
#define E1000_RX_RING 0x2800u
#define E1000_TX_RING 0x3800u
#define E1000_RING_LOW 0x00u
#define E1000_RING_HIGH 0x04u
#define E1000_RING_LENGTH 0x08u /* bytes */
#define E1000_RING_HEAD 0x10u
#define E1000_RING_TAIL 0x18u
#define E1000_RDT (E1000_RX_RING + E1000_RING_TAIL)
#define E1000_TDT (E1000_TX_RING + E1000_RING_TAIL)

/* 13.4.30, 13.4.31, 13.4.42 */
#define E1000_RDTR 0x2820u
#define E1000_RADV 0x282cu
#define E1000_TXDCTL 0x3828u
#define E1000_TXDCTL_COUNT_DESC 0x00400000u /* 82571 and later: to be set */

/* 13.4.48 */
#define E1000_RXCSUM 0x5000u
#define E1000_RXCSUM_TUOFL 0x00000200u /* checks TCP's and UDP's checksums */

/* 13.5.2, 13.5.3: the first address, which is the card's own */
#define E1000_RAL0 0x5400u
#define E1000_RAH0 0x5404u
#define E1000_RAH_AV 0x80000000u

/* 13.7: statistics, taken back by reading */
#define E1000_CRCERRS 0x4000u
#define E1000_RXERRC 0x400cu
#define E1000_MPC 0x4010u  /* there was no room for them */
#define E1000_RLEC 0x4040u /* length and type differ from the frame's */
#define E1000_GPRC 0x4074u /* good ones that pass the filters and are in no MPC */
#define E1000_RUC 0x40a4u  /* too short, */
#define E1000_RFC 0x40a8u  /* and damaged */
#define E1000_ROC 0x40acu  /* too long, */
#define E1000_RJC 0x40b0u  /* and damaged */

/*
 * A legacy descriptor. The second word of one that receives, when the card has written it (3.2.3):
 *   15:0 length, 31:16 checksum of the whole, 39:32 status, 47:40 errors, 63:48 tag
 * and of one that sends (3.3.3):
 *   15:0 length, 23:16 CSO, 31:24 command, 35:32 status, 47:40 CSS, 63:48 tag
 */
struct e1000_descriptor {
	uint64_t address, word;
};
_Static_assert(sizeof(struct e1000_descriptor) == 16, "3.2.3, 3.3.3");

#define E1000_DESC_LENGTH(w) ((uint32_t)FIELD(w, 15, 0))
#define E1000_DESC_DD BIT(32) /* the card is done with it */

#define E1000_RX_EOP BIT(33)
#define E1000_RX_IXSM BIT(34)  /* no checksum was looked at */
#define E1000_RX_TCPCS BIT(37) /* TCP's or UDP's was */
#define E1000_RX_TCPE BIT(45)  /* and is wrong */
/* CE, SE, SEQ, CXE, RXE: kept from us as long as RCTL.SBP is 0. */
#define E1000_RX_DAMAGED (BIT(40) | BIT(41) | BIT(42) | BIT(44) | BIT(47))

#define E1000_TX_EOP BIT(24)
#define E1000_TX_IFCS BIT(25) /* the card adds the check sequence */
#define E1000_TX_RS BIT(27)   /* and writes DD */

/* EEPROM words 0 to 2: the address, low byte first (5.6.1). */
#define E1000_EEPROM_ADDRESS_WORDS 3u

#endif
