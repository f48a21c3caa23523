/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fuzz targets of the boot loaders share: an input is a few bytes that
 * choose the VM, then the image. A plan that breaks a rule, or whose pieces
 * cannot be read, ends the run.
 */
#ifndef CORBEL_TESTS_FAKES_BOOT_FUZZ_H
#define CORBEL_TESTS_FAKES_BOOT_FUZZ_H

#include "tests/fakes/boot_rig.h"

#define BOOT_FUZZ_PREFIX 4u /* memory size, initrd or module count, command line length, flags */

/* Plans and judges; @data is the whole input. Always 0, as libFuzzer wants it. */
int boot_fuzz_one(enum boot_protocol protocol, const uint8_t *data, size_t size);

#endif
