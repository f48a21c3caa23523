#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""embed.py BLOB... >boards.S: compiled device trees as assembly source for the image.

Each board/NAME.dts becomes one entry; `board=NAME` on the command line chooses it at boot.
firmware/board.c reads

    struct board_blob { const char *name; const void *start; uint64_t size; };
    const struct board_blob board_blobs[];    const uint32_t board_blob_count;
"""
import os
import sys


def main():
    blobs = sys.argv[1:]
    names = [os.path.splitext(os.path.basename(b))[0] for b in blobs]
    out = ['\t.section .rodata.boards, "a", @progbits', "\t.globl board_blobs, board_blob_count", "\t.balign 8"]
    out.append("board_blobs:")
    for index, blob in enumerate(blobs):
        out.append("\t.quad name%d, blob%d, %d" % (index, index, os.path.getsize(blob)))
    out.extend(["board_blob_count:", "\t.long %d" % len(blobs)])
    for index, (name, blob) in enumerate(zip(names, blobs)):
        # libfdt wants its blob 8-byte aligned
        out.extend(['name%d:\t.asciz "%s"' % (index, name), "\t.balign 8", 'blob%d:\t.incbin "%s"' % (index, blob)])
    print("\n".join(out))


main()
