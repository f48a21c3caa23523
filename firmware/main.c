/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The boot order, as a list. The one file that sees every room.
 */
#include <stdint.h>

#include "firmware/cpuloop.h"
#include "firmware/hardware.h"
#include "firmware/selftest.h"
#include "firmware/wiring.h"

#define LOOP_STACK_PAGES 8

void boot_main(uint32_t protocol, uint32_t info);

/* On the CPU loop's own stack, with everything mapped that stays mapped. */
static void continue_boot(void)
{
	hardware_start_devices(); /* ACPI, memory types, interrupts, time, serial lines */
	wire_memory();            /* frame table, allocator; page tables take frames from it from now on */
	wire_store();             /* scripts, kernels, initrds */
	selftest_run(boot_args());
	wire_engine();            /* VMXON, the other CPUs, scheduler, what guest/ asks of the host */
	wire_disk();              /* the disks, and the writable store, where one has it */
	wire_network();           /* the network interfaces */
	wire_control();           /* the control task: boot script, then the management line */
	wire_release();           /* the other CPUs, into loops of their own */
	selftest_run_cpu(boot_args());
	cpu_loop();
}

/* Called by start.S on the first stack, interrupts masked, low memory mapped one to one. */
void boot_main(uint32_t protocol, uint32_t info)
{
	hardware_begin();                     /* faults can be reported, the log is kept */
	hardware_read_loader(protocol, info); /* command line, memory ranges, modules */
	hardware_enable_cpu();                /* NX, SMEP, SMAP, UMIP, PAT, XCR0 */
	hardware_read_board();                /* board/NAME.dts */
	hardware_map_memory();                /* memory map, own page tables, fault stacks */
	hardware_continue_on_stack("cpu loop", LOOP_STACK_PAGES, continue_boot);
}
