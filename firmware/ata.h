/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ATA registers, commands and words of IDENTIFY DEVICE that the disk driver
 * uses, by their names in the standard.
 * Source: ATA/ATAPI-7 (INCITS 397-2005, T13/1532D), volume 1, clauses 6.2 and 6.16
 * (IDENTIFY), volume 2, clauses 5 (registers) and 11 (PIO protocols); ports of the
 * two legacy channels: Intel 82371SB (PIIX3) data sheet, 290550, section 2.7.
 */
#ifndef CORBEL_FIRMWARE_ATA_H
#define CORBEL_FIRMWARE_ATA_H

/* The two channels of a PC: command block of eight ports, control block. */
#define ATA_PRIMARY 0x1f0u
#define ATA_PRIMARY_CONTROL 0x3f6u
#define ATA_SECONDARY 0x170u
#define ATA_SECONDARY_CONTROL 0x376u

/* Registers, offsets in the command block. */
#define ATA_DATA 0u         /* 16 bits */
#define ATA_ERROR 1u        /* read */
#define ATA_COUNT 2u
#define ATA_LBA_LOW 3u
#define ATA_LBA_MID 4u
#define ATA_LBA_HIGH 5u
#define ATA_DEVICE 6u
#define ATA_STATUS 7u       /* read: clears the interrupt */
#define ATA_COMMAND 7u      /* write */

/* The control block's one register. */
#define ATA_CONTROL_NIEN 0x02u /* no interrupts */
#define ATA_CONTROL_SRST 0x04u /* resets both drives of the channel */

#define ATA_STATUS_ERR 0x01u
#define ATA_STATUS_DRQ 0x08u
#define ATA_STATUS_DF 0x20u
#define ATA_STATUS_DRDY 0x40u
#define ATA_STATUS_BSY 0x80u
#define ATA_STATUS_FLOATING 0xffu /* nothing drives the bus */

#define ATA_ERROR_ABRT 0x04u
#define ATA_ERROR_IDNF 0x10u
#define ATA_ERROR_UNC 0x40u
#define ATA_ERROR_ICRC 0x80u

#define ATA_DEVICE_LBA 0x40u
#define ATA_DEVICE_DEV 0x10u  /* the channel's second drive */
#define ATA_DEVICE_OLD 0xa0u  /* obsolete bits that old drives want set */

#define ATA_READ_SECTORS 0x20u
#define ATA_READ_SECTORS_EXT 0x24u
#define ATA_WRITE_SECTORS 0x30u
#define ATA_WRITE_SECTORS_EXT 0x34u
#define ATA_READ_DMA 0xc8u
#define ATA_READ_DMA_EXT 0x25u
#define ATA_WRITE_DMA 0xcau
#define ATA_WRITE_DMA_EXT 0x35u
#define ATA_FLUSH_CACHE 0xe7u
#define ATA_FLUSH_CACHE_EXT 0xeau
#define ATA_IDENTIFY_DEVICE 0xecu

/* What a packet device leaves in LBA Mid and High when it refuses IDENTIFY DEVICE. */
#define ATA_PACKET_MID 0x14u
#define ATA_PACKET_HIGH 0xebu

#define ATA_LBA28_SECTORS 0x10000000ull
#define ATA_LBA48_SECTORS 0x1000000000000ull
#define ATA_COUNT_MAX 256u /* sectors of a 28-bit command; the register then says 0 */

/* IDENTIFY DEVICE: words of 16 bits. */
#define ATA_ID_WORDS 256u
#define ATA_ID_MODEL 27u          /* 20 words, two characters each, the first in the upper byte */
#define ATA_ID_MODEL_WORDS 20u
#define ATA_ID_CAPABILITIES 49u
#define ATA_ID_CAPABILITIES_DMA 0x0100u
#define ATA_ID_CAPABILITIES_LBA 0x0200u
#define ATA_ID_SECTORS28 60u      /* two words */
#define ATA_ID_COMMANDS 83u
#define ATA_ID_COMMANDS_LBA48 0x0400u
#define ATA_ID_COMMANDS_FLUSH 0x1000u
#define ATA_ID_COMMANDS_FLUSH_EXT 0x2000u
#define ATA_ID_SECTORS48 100u     /* four words */
#define ATA_ID_SECTOR_SIZE 106u
#define ATA_ID_SECTOR_SIZE_LARGE 0x1000u
#define ATA_ID_SECTOR_WORDS 117u  /* two words: of 16 bits in a logical sector */
/* Words 83 and 106 hold when their bits 15:14 are 01. */
#define ATA_ID_VALID_MASK 0xc000u
#define ATA_ID_VALID 0x4000u

#endif
