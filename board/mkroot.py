#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mkroot.py OUT --mib N [--overlay DIR] DIR...: a root file system for a Debian guest, as an ext4 image.

Takes each package (.deb) in the directories DIR as it is, without its own scripts, and puts what they would have made and a
machine needs beside them: merged /usr, accounts, the folders to mount on, then the files of --overlay. No root is needed:
mkfs.ext4 copies the tree, debugfs makes root the owner of everything. Documentation, translations and character sets are
left out. Same input, same bytes: names are sorted, and all times are that of the newest file in a package.
"""
import argparse
import glob
import os
import re
import shutil
import stat
import subprocess
import tempfile

LEFT_OUT = ["./usr/share/" + name + "/*" for name in (
    "doc", "man", "info", "locale", "lintian", "bash-completion", "common-licenses", "icons", "pixmaps", "zsh", "bug")]
LEFT_OUT += ["./usr/lib/x86_64-linux-gnu/gconv/*", "./etc/cron.d/*", "./usr/share/fio/*", "./usr/share/menu/*"]
MERGED = ("bin", "sbin", "lib", "lib64")
FOLDERS = ("dev", "proc", "run", "sys", "tmp", "root", "etc/inittab.d", "var/log")
# what update-alternatives would have made
ALTERNATIVES = {"usr/bin/nc": "nc.openbsd"}
UUID = "c0bbe100-0000-4000-8000-000000000001"
MKFS = ["mkfs.ext4", "-q", "-b", "4096", "-m", "0", "-N", "4096", "-J", "size=4", "-L", "debian", "-U", UUID,
        "-O", "^metadata_csum_seed,^orphan_file", "-E", "hash_seed=%s,lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0" % UUID]


def unpack(deb, root):
    """The package's files over those that are there; a folder that is a link stays one."""
    dpkg = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE)
    subprocess.run(["tar", "-C", root, "-x", "--keep-directory-symlink", "--no-same-owner", "-p",
                    *("--exclude=" + name for name in LEFT_OUT)], stdin=dpkg.stdout, check=True)
    dpkg.stdout.close()
    if dpkg.wait():
        raise SystemExit("mkroot.py: %s cannot be unpacked" % deb)


def lay_ground(root):
    for name in MERGED:
        os.makedirs(os.path.join(root, "usr", name))
        os.symlink("usr/" + name, os.path.join(root, name))
    for name in FOLDERS:
        os.makedirs(os.path.join(root, name), exist_ok=True)


def configure(root):
    """What base-passwd, base-files and some others do when they are installed."""
    copies = {"usr/share/base-passwd/passwd.master": "etc/passwd", "usr/share/base-passwd/group.master": "etc/group",
              "usr/share/base-files/profile": "etc/profile", "usr/share/base-files/dot.bashrc": "root/.bashrc",
              "usr/share/base-files/dot.profile": "root/.profile"}
    for source, target in copies.items():
        if os.path.exists(os.path.join(root, source)):
            shutil.copy(os.path.join(root, source), os.path.join(root, target))
    for name, program in ALTERNATIVES.items():
        if os.path.exists(os.path.join(root, os.path.dirname(name), program)):
            os.symlink(program, os.path.join(root, name))


def everything(root):
    for directory, folders, files in os.walk(root):
        yield directory
        for name in files + [f for f in folders if os.path.islink(os.path.join(directory, f))]:
            yield os.path.join(directory, name)


def newest_file(root):
    """Time of the newest file of a package: folders and links are partly of today."""
    found = [os.lstat(path) for path in everything(root)]
    return int(max(entry.st_mtime for entry in found if stat.S_ISREG(entry.st_mode)))


def set_times(root, seconds):
    for path in everything(root):
        os.utime(path, (seconds, seconds), follow_symlinks=False)


def overlay(source, root):
    """@source's files, which programs can be among; in the repository they have no other rights than these."""
    for directory, _, files in os.walk(source):
        for name in sorted(files):
            path = os.path.join(directory, name)
            target = os.path.join(root, os.path.relpath(path, source))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(path, target)
            os.chmod(target, 0o755 if os.access(path, os.X_OK) else 0o644)


def inodes_in_use(image):
    """Numbers of all inodes that hold something, as dumpe2fs has the free ones of each group."""
    text = subprocess.run(["dumpe2fs", image], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True).stdout
    count = int(re.search(r"^Inode count: +(\d+)", text, re.MULTILINE)[1])
    free = set()
    for line in re.findall(r"^ +Free inodes: (.*)$", text, re.MULTILINE):
        for first, last in re.findall(r"(\d+)(?:-(\d+))?", line):
            free.update(range(int(first), int(last or first) + 1))
    # the first ten are the file system's own but for the root, 2
    return [n for n in range(1, count + 1) if n not in free and (n == 2 or n > 10)]


def settle(image, seconds, directory):
    """Everything is root's, and was made at @seconds."""
    commands = os.path.join(directory, "commands")
    with open(commands, "w") as out:
        out.write("set_current_time @%d\n" % seconds)
        for inode in inodes_in_use(image):
            for field, value in [("uid", "0"), ("gid", "0")] + [(name, "@%d" % seconds) for name in ("atime", "ctime", "mtime", "crtime")]:
                out.write("sif <%d> %s %s\n" % (inode, field, value))
            for name in ("atime_extra", "ctime_extra", "mtime_extra", "crtime_extra"):
                out.write("sif <%d> %s 0\n" % (inode, name))
    done = subprocess.run(["debugfs", "-w", "-f", commands, image], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wrong = [line for line in done.stderr.splitlines() if line and not line.startswith("debugfs ")]
    if done.returncode or wrong:
        raise SystemExit("mkroot.py: debugfs: " + "\n".join(wrong[:5]))


def make(out, mib, sources, over):
    debs = sorted(deb for source in sources for deb in glob.glob(os.path.join(source, "*.deb")))
    if not debs:
        raise SystemExit("mkroot.py: there are no packages in %s" % " ".join(sources))
    with tempfile.TemporaryDirectory(prefix="mkroot-") as directory:
        root, image = os.path.join(directory, "root"), os.path.join(directory, "image")
        os.mkdir(root, 0o755)
        lay_ground(root)
        for deb in debs:
            unpack(deb, root)
        seconds = newest_file(root)
        configure(root)
        if over:
            overlay(over, root)
        set_times(root, seconds)
        os.environ.update(E2FSPROGS_FAKE_TIME=str(seconds), TZ="UTC", LC_ALL="C", PATH=os.environ["PATH"] + ":/usr/sbin:/sbin")
        subprocess.run([*MKFS, "-d", root, image, "%dM" % mib], stdout=subprocess.DEVNULL, check=True)
        settle(image, seconds, directory)
        # keeps holes
        subprocess.run(["cp", "--sparse=always", image, out], check=True)


def main():
    parser = argparse.ArgumentParser(description="A guest's root file system of Debian packages.")
    parser.add_argument("out")
    parser.add_argument("--mib", type=int, required=True, help="size of the file system")
    parser.add_argument("--overlay", help="files of our own, put over the packages'")
    parser.add_argument("sources", nargs="+", metavar="DIR")
    options = parser.parse_args()
    make(options.out, options.mib, options.sources, options.overlay)


if __name__ == "__main__":
    main()
