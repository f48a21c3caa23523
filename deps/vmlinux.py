#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vmlinux.py BZIMAGE OUT: the uncompressed ELF kernel inside a bzImage.

The x86 boot protocol (Documentation/arch/x86/boot.rst) says where the payload is: payload_offset
and payload_length count from the start of the protected-mode part, which follows setup_sects + 1
sectors. The compressor is told by the payload's magic; the kernel's build appends the plain size
as four bytes, which LZ4's decoder would take for one more frame.
"""
import struct
import subprocess
import sys

DECODERS = {
    b"\x02\x21\x4c\x18": (["lz4", "-dc"], 4),
    b"\xfd7zXZ\x00": (["xz", "-dc", "--single-stream"], 0),
    b"\x1f\x8b": (["gzip", "-dc"], 4),
    b"\x28\xb5\x2f\xfd": (["zstd", "-dc"], 4),
}


def payload_of(image):
    if image[0x202:0x206] != b"HdrS":
        raise SystemExit("vmlinux.py: no bzImage (HdrS is missing)")
    if struct.unpack_from("<H", image, 0x206)[0] < 0x208:
        raise SystemExit("vmlinux.py: boot protocol before 2.08 names no payload")
    setup_sects = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sects + 1) * 512 + offset
    return image[start : start + length]


def main():
    with open(sys.argv[1], "rb") as f:
        payload = payload_of(f.read())
    for magic, (command, trailer) in DECODERS.items():
        if payload.startswith(magic):
            data = payload[: len(payload) - trailer]
            elf = subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout
            break
    else:
        raise SystemExit("vmlinux.py: unknown compression " + payload[:6].hex())
    (size,) = struct.unpack_from("<I", payload, len(payload) - 4)
    if elf[:4] != b"\x7fELF" or len(elf) != size:
        raise SystemExit("vmlinux.py: the payload is no ELF file of the stated %d bytes" % size)
    with open(sys.argv[2], "wb") as f:
        f.write(elf)


main()
