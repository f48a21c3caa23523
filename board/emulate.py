#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs Corbel in the emulator for a person: `make run` and `make boot`.

The management line (COM2) is relayed to a port of the loopback interface (relay.py), where corbelctl
and any other SMP client may connect, leave and come again. The boot log (COM1) goes to the terminal.
With --prompt, corbelctl is started once Corbel is up, and leaving it ends the emulator.
"""
import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time

import bochs
import mkdisk
import parts
import relay


def show_log(stream, until, seconds):
    """Copies the boot log to the terminal until the pattern @until was seen, or time is over."""
    shown, deadline = 0, time.monotonic() + seconds
    while True:
        with stream.changed:
            if len(stream.data) == shown and not stream.ended:
                stream.changed.wait(min(1.0, max(0.0, deadline - time.monotonic())))
            fresh = bytes(stream.data[shown:])
            ended = stream.ended
        shown += len(fresh)
        sys.stdout.write(fresh.decode("utf-8", "replace").replace("\r\n", "\n"))
        sys.stdout.flush()
        if until and until in stream.text():
            return True
        if (ended and not fresh) or time.monotonic() > deadline:
            return False


def disk_for(options, directory):
    if options.disk:
        return options.disk
    path = options.keep or os.path.join(directory, "disk.img")
    if os.path.exists(path + ".lock"):
        raise SystemExit("emulate: %s is in use by another emulator; if there is none, remove %s.lock" % (path, path))
    modules = [(options.store, "store")] if options.store else []
    if options.keep and options.base and parts.other_base(path, options.base):
        print("emulate: %s keeps guests' disks that stand on another root file system; without it they begin anew" % path, flush=True)
    mkdisk.make_disk(path, options.loader, options.elf, modules, options.cmdline, keep=options.keep, base=options.base)
    return path


def interact(machine, options):
    """The boot log, then the operator's prompt; returns its exit status."""
    relay.Relay(machine.management, options.port)
    target = "127.0.0.1:%d" % options.port
    if not show_log(machine.log, options.ready, options.seconds):
        print("emulate: Corbel did not come up within %d s" % options.seconds, file=sys.stderr)
        return 1
    print("\nThe machine runs in the background; its management line is at %s.\n" % target, flush=True)
    # Ctrl-C belongs to the prompt
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return subprocess.call(shlex.split(options.prompt) + ["-t", target],
                           preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


def forward(text):
    port, guest, guest_port = text.split(":")
    return int(port), guest, int(guest_port)


def network_for(options):
    if options.network == "none":
        return None
    network = bochs.Network(restricted=options.network == "restricted")
    for port, guest, guest_port in options.forward:
        network.forward(guest_port, guest, port)
    return network


def main():
    parser = argparse.ArgumentParser(description="Runs Corbel in the emulator.")
    parser.add_argument("--disk", help="a bootable disk image; else one is made of the next five")
    parser.add_argument("--loader", default="build/sector.bin")
    parser.add_argument("--elf", default="build/corbel.elf")
    parser.add_argument("--store")
    parser.add_argument("--base", metavar="IMAGE", help="what guests' disks stand on")
    parser.add_argument("--cmdline", default="")
    parser.add_argument("--keep", metavar="DISK", help="where the disk is made; what the writable store and guests' disks on it hold stays")
    parser.add_argument("--model", default=bochs.ICELAKE)
    parser.add_argument("--megs", type=int, default=512)
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--ips", type=int, default=10_000_000)
    parser.add_argument("--errors", choices=["ignore", "report"], default="ignore", help="into Bochs' own log")
    parser.add_argument("--port", type=int, default=18892, help="of the management line")
    parser.add_argument("--prompt", help="the operator's program; without it only the log is shown")
    parser.add_argument("--ready", default="", help="text of the boot log that says Corbel is up")
    parser.add_argument("--seconds", type=int, default=300, help="limit on the log shown")
    parser.add_argument("--network", choices=["none", "restricted", "open"], default="none",
                        help="a network card, and whether what is behind it ends at the emulator or is what this host reaches")
    parser.add_argument("--forward", action="append", default=[], type=forward, metavar="PORT:GUEST:PORT",
                        help="a TCP port of the loopback interface that leads to a guest's")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="corbel-") as directory:
        disk = disk_for(options, directory)
        with bochs.Bochs(disk, model=options.model, megs=options.megs, ips=options.ips, cpus=options.cpus,
                         errors=options.errors, keep=bool(options.keep), network=network_for(options)) as machine:
            if options.prompt:
                return interact(machine, options)
            show_log(machine.log, options.ready, options.seconds)
            machine.stop()
            print("\nemulate: exit status %s after %s instructions" % (machine.process.returncode, machine.ticks()))
            for line in machine.bochs_log().splitlines()[-5:]:
                print("bochs: " + line)
            return 0


if __name__ == "__main__":
    sys.exit(main())
