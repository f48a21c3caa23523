# SPDX-License-Identifier: Apache-2.0
"""What the measurements share: machines booted for one purpose, and tables with bars.

A tick of the emulator is an instruction (sync=none), so figures repeat to the digit. Bochs counts
a string instruction once for each iteration, and an exit, a VMREAD or an MSR write as one: that is
why the tables show such instructions apart.
"""
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path[:0] = [os.path.join(ROOT, "board"), os.path.join(ROOT, "tests", "system")]

import bochs  # noqa: E402
import mkcpio  # noqa: E402
import mkdisk  # noqa: E402
import smp  # noqa: E402

BUILD = os.environ.get("CORBEL_BUILD", os.path.join(ROOT, "build"))
DEPS = os.environ.get("CORBEL_DEPS", os.path.join(BUILD, "deps"))
VMS, VM_INFO = 65, "info"
CONSOLES, CONSOLE_READ = 72, 1


def build(name):
    return os.path.join(BUILD, name)


def write_store(path, contents):
    """A store of {name: text, bytes, or os.PathLike of a file}."""
    with open(path, "wb") as out:
        cpio = mkcpio.Cpio(out)
        for name, content in contents.items():
            if isinstance(content, os.PathLike):
                cpio.file(name, content)
            else:
                cpio.entry(name, 0o100644, content.encode() if isinstance(content, str) else content)
        cpio.close()


def make_disk(directory, contents, args):
    """A disk that boots Corbel by the sector loader with a store of @contents."""
    store, disk = os.path.join(directory, "store.cpio"), os.path.join(directory, "disk.img")
    write_store(store, contents)
    mkdisk.make_disk(disk, build("sector.bin"), build("corbel.elf"), [(store, "store")], args)
    return disk


def console(client, name):
    """All that a guest has printed, by the console group."""
    at, text = 0, b""
    while True:
        answer = client.read_request(CONSOLES, CONSOLE_READ, {"name": name, "from": at})
        if not answer["data"]:
            return text.decode("utf-8", "replace")
        text += answer["data"]
        at = answer["next"]


def bench_lines(text):
    """{name: value} of the lines `bench NAME VALUE`."""
    return {name: int(value) for name, value in re.findall(r"^bench (\S+) (-?\d+)\s*$", text, re.MULTILINE)}


class Table:
    """Rows of measured value, bar and peer, printed as they come; counts what missed its bar."""

    def __init__(self, title, columns):
        self.missed = []
        print("\n%s\n%-34s %14s %12s %12s %8s  %s" % (title, "", "measured", "at most", "KVM", "KVM/us", columns),
              flush=True)

    def row(self, name, value, bar=None, peer=None, note=""):
        over = bar is not None and value > bar
        if over:
            self.missed.append("%s: %s, at most %s" % (name, value, bar))
        ratio = "%.1f" % (peer / value) if peer and value else ""
        print("%-34s %14s %12s %12s %8s  %s%s" % (
            name, format(value, ","), format(bar, ",") if bar is not None else "",
            format(peer, ",") if peer else "", ratio, note, "  MISSED" if over else ""), flush=True)
