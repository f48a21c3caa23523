/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the image says of itself in its file: an ELF note of owner "Corbel" with
 * the version and a stamp, the SHA-256 of the file with the stamp's bytes taken
 * as zero. board/stamp.py fills it in behind the last link; lua/image.h reads it
 * in images that are uploaded, and control_task.c in this one.
 */
#include "gen/version.h"

	.section .note.corbel, "a", @note
	.balign 4
	.long 7, 2f - 1f, 1
	.asciz "Corbel"
	.balign 4
1:	.ascii CORBEL_VERSION
	.zero 32 - (. - 1b)
	.globl image_stamp
image_stamp:
	.zero 32
2:
