#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mkcpio.py OUT [--list FILE] [NAME=PATH]...: a cpio archive in the newc format, without root.

Used for the store and for guests' initial file systems. The list's lines are those of the Linux
kernel's gen_init_cpio:

    dir NAME MODE | file NAME PATH MODE | slink NAME TARGET | nod NAME MODE c|b MAJOR MINOR

with PATH relative to the list's own directory, and $VARIABLES of the environment. NAME=PATH is a
plain file; a directory is taken with everything below it. Same input, same bytes: times and
owners are 0, inode numbers count up. Names carry no leading slash, parents come before children.
"""
import argparse
import os
import stat


class Cpio:
    """Writes entries as they are added; close() ends the archive (newc: cpio(5))."""

    def __init__(self, out):
        self.out = out
        self.inode = 0
        self.names = set()

    def pad(self):
        self.out.write(b"\0" * (-self.out.tell() % 4))

    def header(self, name, mode, size, rdev=(0, 0), links=1):
        self.inode += 1
        encoded = name.encode() + b"\0"
        fields = [self.inode, mode, 0, 0, links, 0, size, 0, 0, rdev[0], rdev[1], len(encoded), 0]
        self.out.write(b"070701" + b"".join(b"%08X" % field for field in fields) + encoded)
        self.pad()

    def entry(self, name, mode, content=b"", rdev=(0, 0)):
        name = name.strip("/")
        if name in self.names:
            raise SystemExit("mkcpio.py: %s is given twice" % name)
        parent = os.path.dirname(name)
        if parent and parent not in self.names:
            self.entry(parent, stat.S_IFDIR | 0o755)
        self.names.add(name)
        self.header(name, mode, len(content), rdev, 2 if stat.S_ISDIR(mode) else 1)
        self.out.write(content)
        self.pad()

    def file(self, name, path, mode=0o644):
        with open(path, "rb") as f:
            self.entry(name, stat.S_IFREG | mode, f.read())

    def tree(self, name, path):
        if not os.path.isdir(path):
            return self.file(name, path, 0o755 if os.access(path, os.X_OK) else 0o644)
        for below in sorted(os.listdir(path)):
            self.tree(name + "/" + below, os.path.join(path, below))

    def close(self):
        self.inode = -1
        self.header("TRAILER!!!", 0, 0)


def add_line(cpio, words, base):
    kind, name = words[0], words[1]
    if kind == "dir":
        cpio.entry(name, stat.S_IFDIR | int(words[2], 8))
    elif kind == "file":
        path = os.path.expandvars(words[2])
        cpio.file(name, os.path.join(base, path), int(words[3], 8))
    elif kind == "slink":
        cpio.entry(name, stat.S_IFLNK | 0o777, words[2].encode())
    elif kind == "nod":
        device = {"c": stat.S_IFCHR, "b": stat.S_IFBLK}[words[3]]
        cpio.entry(name, device | int(words[2], 8), rdev=(int(words[4]), int(words[5])))
    else:
        raise ValueError(kind)


def add_list(cpio, path):
    with open(path) as f:
        for number, line in enumerate(f, 1):
            words = line.split("#")[0].split()
            if not words:
                continue
            try:
                add_line(cpio, words, os.path.dirname(path))
            except (ValueError, IndexError, KeyError) as error:
                raise SystemExit("%s:%d: cannot read this line (%s)" % (path, number, error)) from None


def main():
    parser = argparse.ArgumentParser(description="A cpio newc archive, without root.")
    parser.add_argument("out")
    parser.add_argument("--list", action="append", default=[])
    parser.add_argument("pieces", nargs="*", metavar="NAME=PATH")
    options = parser.parse_args()
    with open(options.out, "wb") as out:
        cpio = Cpio(out)
        for path in options.list:
            add_list(cpio, path)
        for piece in options.pieces:
            name, equals, path = piece.partition("=")
            if not equals:
                parser.error("%s is not NAME=PATH" % piece)
            cpio.tree(name, path)
        cpio.close()


if __name__ == "__main__":
    main()
