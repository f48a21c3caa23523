#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""stamp.py ELF: writes the image's hash into its own note.

The hash is the SHA-256 of the file with the 32 bytes of the stamp taken as zero, so that the image that
runs can say which file it is. It is in the note of owner "Corbel", type 1: version[32], stamp[32]
(firmware/image_note.S, lua/image.c). Tests make images of their own with note() and stamp().
"""
import hashlib
import struct
import sys

OWNER, TYPE, VERSION_BYTES, STAMP_BYTES = b"Corbel\0", 1, 32, 32
PT_NOTE = 4


def note(owner, kind, content):
    """One ELF note, padded to 4."""
    def pad(data):
        return data + b"\0" * (-len(data) % 4)
    return struct.pack("<III", len(owner), len(content), kind) + pad(owner) + pad(content)


def stamp_offset(data):
    """Where the stamp is in an ELF64 file."""
    offset, size, count = struct.unpack_from("<Q14xHH", data, 32)
    for i in range(count):
        kind, _, at, _, _, length = struct.unpack_from("<IIQQQQ", data, offset + i * size)
        end = at + length
        while kind == PT_NOTE and at + 12 <= end:
            owner_len, content_len, note_type = struct.unpack_from("<III", data, at)
            content = at + 12 + (owner_len + 3) // 4 * 4
            if data[at + 12 : at + 12 + owner_len] == OWNER and note_type == TYPE:
                assert content_len == VERSION_BYTES + STAMP_BYTES, "a note of another layout"
                return content + VERSION_BYTES
            at = content + (content_len + 3) // 4 * 4
    raise SystemExit("stamp.py: there is no note of Corbel in it")


def stamp(data):
    """The file with its stamp in place."""
    at = stamp_offset(data)
    blank = data[:at] + bytes(STAMP_BYTES) + data[at + STAMP_BYTES :]
    return data[:at] + hashlib.sha256(blank).digest() + data[at + STAMP_BYTES :]


def main():
    with open(sys.argv[1], "r+b") as file:
        data = stamp(file.read())
        file.seek(0)
        file.write(data)


if __name__ == "__main__":
    main()
