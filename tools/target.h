/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a machine's management line is: a serial device, or host:port of a
 * serial server or an emulator.
 */
#ifndef CORBEL_TOOLS_TARGET_H
#define CORBEL_TOOLS_TARGET_H

#include <stddef.h>

/*
 * Opens @target: a path of a terminal device (115200 baud, raw), or HOST:PORT
 * ([ADDRESS]:PORT for IPv6). Returns a non-blocking descriptor, or -1 with a
 * sentence in @why.
 */
int target_open(const char *target, int timeout_ms, char *why, size_t size);
/* Puts a serial device back as it was and closes. */
void target_close(int fd);

#endif
