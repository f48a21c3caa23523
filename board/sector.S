/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sector loader for test disks: from BIOS to Corbel's PVH entry without GRUB,
 * so that a boot costs milliseconds. board/mkdisk.py parses the ELF and writes
 * a table behind this code: which sectors go where, the entry address, and
 * struct hvm_start_info with its module list, complete but for the memory map
 * and the RSDP, which are found here. Reading is by ATA programmed I/O straight
 * to the destination (primary master, 28-bit LBA): BIOS calls would need a copy
 * through low memory. A disk error, a foreign table or memory that is not there
 * ends in one line on COM1 and port 0xE9, then a power-off of the emulator.
 *
 * State at the entry as in Xen's docs/misc/pvh.pandoc: 32-bit protected mode,
 * paging off, flat segments, 32-bit TSS with base 0, interrupts off, EBX = start_info.
 */
#define ORIGIN       0x7c00
#define CODE_SECTORS 4
#define TABLE_SECTORS 8
#define TABLE        (ORIGIN + CODE_SECTORS * 512)
#define MEMMAP       0xa000 /* 24-byte entries */
#define MEMMAP_MAX   128
#define DISK         0x80

/* The table's header; runs of 16 bytes follow it. board/mkdisk.py writes the same. */
#define T_MAGIC      (TABLE + 0)
#define T_RUNS       (TABLE + 4)
#define T_ENTRY      (TABLE + 8)
#define T_INFO       (TABLE + 12) /* address of start_info */
#define T_RUN        (TABLE + 32)
#define MAGIC        0x746c6263
#define RUN_LBA      0
#define RUN_DEST     4
#define RUN_FILESZ   8
#define RUN_MEMSZ    12
#define RUN_SIZE     16

/* struct hvm_start_info */
#define INFO_RSDP    32
#define INFO_MEMMAP  40
#define INFO_ENTRIES 48

#define COM1         0x3f8
#define ATA_DATA     0x1f0
#define ATA_COUNT    0x1f2
#define ATA_LBA0     0x1f3
#define ATA_LBA1     0x1f4
#define ATA_LBA2     0x1f5
#define ATA_DEVICE   0x1f6
#define ATA_COMMAND  0x1f7
#define ATA_CONTROL  0x3f6
#define ATA_ERR_DF   0x21
#define ATA_DRQ      0x08
#define ATA_BSY      0x80

	.section .text
	.code16
	.globl _start
_start:
	cli
	cld
	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	mov $ORIGIN, %sp
	ljmp $0, $1f
1:	sti
	mov $packet, %si
	mov $0x42, %ah
	mov $DISK, %dl
	int $0x13
	jc 2f
	cmpl $MAGIC, T_MAGIC
	je stage2
2:	mov $'D', %al
	out %al, $0xe9
	hlt
	jmp 2b

	.balign 4
packet:					/* INT 13h AH=42h: the rest of the code and the table */
	.byte 16, 0
	.word CODE_SECTORS - 1 + TABLE_SECTORS
	.word ORIGIN + 512, 0
	.quad 1

	.org 510
	.word 0xaa55

/* ---- second part, loaded right behind ---- */
stage2:
	mov $0x2401, %ax		/* A20 on, by the BIOS and by port 92h */
	int $0x15
	in $0x92, %al
	or $2, %al
	and $0xfe, %al
	out %al, $0x92

	mov $MEMMAP, %di		/* INT 15h E820h, one entry a call */
	xor %ebx, %ebx
	xor %bp, %bp
3:	movl $0, 20(%di)
	mov $0xe820, %eax
	mov $0x534d4150, %edx
	mov $20, %ecx
	int $0x15
	jc 4f
	inc %bp
	add $24, %di
	cmp $MEMMAP_MAX, %bp
	jae 4f
	test %ebx, %ebx
	jnz 3b
4:	cli
	lgdt gdt_pointer
	mov %cr0, %eax
	or $1, %eax
	mov %eax, %cr0
	ljmp $8, $protected

	.code32
protected:
	mov $16, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov %eax, %fs
	mov %eax, %gs
	mov $24, %eax
	ltr %ax
	mov $ORIGIN, %esp

	mov T_INFO, %ebx
	movzwl %bp, %eax
	movl $MEMMAP, INFO_MEMMAP(%ebx)
	mov %eax, INFO_ENTRIES(%ebx)
	call find_rsdp
	mov %eax, INFO_RSDP(%ebx)

	mov $2, %al			/* no interrupts from the disk */
	mov $ATA_CONTROL, %edx
	out %al, %dx

	mov $T_RUN, %esi
	mov T_RUNS, %ebp
next_run:
	test %ebp, %ebp
	jz enter
	call check_memory
	call load_run
	add $RUN_SIZE, %esi
	dec %ebp
	jmp next_run

enter:
	mov T_INFO, %ebx
	mov T_ENTRY, %eax
	xor %ebp, %ebp
	xor %esi, %esi
	xor %edi, %edi
	push $2
	popf
	jmp *%eax

/* Reads the run at ESI to its destination and clears the rest of its memory. Keeps ESI, EBP. */
load_run:
	push %ebp
	mov RUN_LBA(%esi), %ebx
	mov RUN_DEST(%esi), %edi
	mov RUN_FILESZ(%esi), %ebp
	add $511, %ebp
	shr $9, %ebp
1:	test %ebp, %ebp
	jz 2f
	call read_command
	jmp 1b
2:	mov RUN_DEST(%esi), %edi
	add RUN_FILESZ(%esi), %edi
	mov RUN_MEMSZ(%esi), %ecx
	sub RUN_FILESZ(%esi), %ecx
	xor %eax, %eax
	mov %ecx, %edx
	shr $2, %ecx
	rep stosl
	mov %edx, %ecx
	and $3, %ecx
	rep stosb
	pop %ebp
	ret

/* Up to 256 of the EBP sectors from LBA EBX to EDI; advances all three. */
read_command:
	mov $256, %ecx
	cmp %ecx, %ebp
	jae 1f
	mov %ebp, %ecx
1:	call wait_idle
	mov $ATA_COUNT, %edx
	mov %cl, %al			/* 0 means 256 */
	out %al, %dx
	mov %ebx, %eax
	inc %edx			/* ATA_LBA0 */
	out %al, %dx
	shr $8, %eax
	inc %edx
	out %al, %dx
	shr $8, %eax
	inc %edx
	out %al, %dx
	shr $8, %eax
	and $0x0f, %al
	or $0xe0, %al			/* LBA mode, device 0 */
	inc %edx			/* ATA_DEVICE */
	out %al, %dx
	inc %edx			/* ATA_COMMAND */
	mov $0x20, %al			/* READ SECTORS */
	out %al, %dx
	add %ecx, %ebx
	sub %ecx, %ebp
	push %ebx
	mov %ecx, %ebx
2:	call wait_data
	mov $128, %ecx
	mov $ATA_DATA, %edx
	rep insl
	dec %ebx
	jnz 2b
	pop %ebx
	ret

wait_idle:
	mov $ATA_COMMAND, %edx
1:	in %dx, %al
	test $ATA_BSY, %al
	jnz 1b
	ret

wait_data:
	mov $ATA_COMMAND, %edx
1:	in %dx, %al
	test $ATA_BSY, %al
	jnz 1b
	test $ATA_ERR_DF, %al
	jnz disk_error
	test $ATA_DRQ, %al
	jz 1b
	ret

/* The run at ESI must lie in one usable range of the memory map. */
check_memory:
	mov T_INFO, %ebx
	mov INFO_ENTRIES(%ebx), %ecx
	mov $MEMMAP, %edi
1:	jecxz memory_error
	cmpl $1, 16(%edi)		/* usable */
	jne 2f
	cmpl $0, 4(%edi)		/* starts below 4 GiB */
	jne 2f
	mov RUN_DEST(%esi), %eax
	sub 0(%edi), %eax		/* offset of the run in the range */
	jb 2f
	add RUN_MEMSZ(%esi), %eax	/* where it ends; a run is below 4 GiB */
	jc 2f
	cmpl $0, 12(%edi)
	jne 3f
	cmp 8(%edi), %eax
	jbe 3f
2:	add $24, %edi
	dec %ecx
	jmp 1b
3:	ret

/* EAX = address of "RSD PTR " in the BIOS area, 0 without one (ACPI 5.2.5.1). */
find_rsdp:
	mov $0xe0000, %eax
1:	cmpl $0x20445352, (%eax)
	jne 2f
	cmpl $0x20525450, 4(%eax)
	je 3f
2:	add $16, %eax
	cmp $0x100000, %eax
	jb 1b
	xor %eax, %eax
3:	ret

disk_error:
	mov $disk_text, %esi
	jmp fail
memory_error:
	mov $memory_text, %esi
fail:	mov $uart_setup, %ebx
1:	movzbl (%ebx), %edx		/* register, value; FFh ends */
	cmp $0xff, %dl
	je print
	add $COM1, %edx
	mov 1(%ebx), %al
	out %al, %dx
	add $2, %ebx
	jmp 1b
print:	mov $COM1 + 5, %edx
1:	in %dx, %al
	test $0x20, %al
	jz 1b
	lodsb
	test %al, %al
	jz 2f
	out %al, $0xe9
	mov $COM1, %edx
	out %al, %dx
	jmp print
2:	mov $COM1 + 5, %edx		/* until the last byte has left the UART */
	in %dx, %al
	test $0x40, %al
	jz 2b
	mov $shutdown_text, %esi
	mov $0x8900, %edx
	mov $8, %ecx
	rep outsb
3:	hlt
	jmp 3b

uart_setup:				/* 115200 8N1, no FIFO, no interrupts, DTR and RTS */
	.byte 3, 0x83, 0, 1, 1, 0, 3, 3, 1, 0, 2, 0, 4, 3, 0xff
disk_text:
	.asciz "sector loader: the disk reports a read error\r\n"
memory_text:
	.asciz "sector loader: this machine has too little memory for the image and its store\r\n"
shutdown_text:
	.ascii "Shutdown"

	.balign 8
gdt:
	.quad 0
	.quad 0x00cf9b000000ffff	/* 08h code, flat */
	.quad 0x00cf93000000ffff	/* 10h data, flat */
	.quad 0x0000890000000067	/* 18h TSS, base 0, limit 67h */
gdt_pointer:
	.word . - gdt - 1
	.long gdt

	.org CODE_SECTORS * 512
