#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs Corbel in the emulator for a person: `make run` and `make boot`.

The management line (COM2) is relayed to a port of the loopback interface, where corbelctl and any
other SMP client may connect, leave and come again, one at a time; what Corbel says while nobody
listens is dropped, as on a cable with no one at its end. The boot log (COM1) goes to the terminal.
With --prompt, corbelctl is started once Corbel answers, and leaving it ends the emulator.
"""
import argparse
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import bochs
import mkdisk

HOST = "127.0.0.1"


class Relay:
    """Joins @line, a connected socket, with one TCP client after another."""

    def __init__(self, line, port):
        self.line = line
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((HOST, port))
        self.listener.listen(4)
        self.client = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            # further clients wait in the listener's queue until the present one has left
            ready, _, _ = select.select([self.line, self.client or self.listener], [], [])
            if self.listener in ready:
                self.client, _ = self.listener.accept()
                self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                if self.line in ready and not self.from_machine():
                    break
                if self.client in ready:
                    self.from_client()
            except OSError:
                self.drop()
        self.drop()
        self.listener.close()

    def from_machine(self):
        data = self.line.recv(65536)
        if data and self.client:
            self.client.sendall(data)
        return bool(data)

    def from_client(self):
        data = self.client.recv(65536)
        if data:
            self.line.sendall(data)
        else:
            self.drop()

    def drop(self):
        if self.client:
            self.client.close()
        self.client = None


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
    path = os.path.join(directory, "disk.img")
    modules = [(options.store, "store")] if options.store else []
    mkdisk.make_disk(path, options.loader, options.elf, modules, options.cmdline)
    return path


def interact(machine, options):
    """The boot log, then the operator's prompt; returns its exit status."""
    relay = Relay(machine.management, options.port)
    target = "%s:%d" % (HOST, options.port)
    if not show_log(machine.log, options.ready, options.seconds):
        print("emulate: Corbel did not come up within %d s" % options.seconds, file=sys.stderr)
        return 1
    print("\nThe machine runs in the background; its management line is at %s.\n" % target, flush=True)
    # Ctrl-C belongs to the prompt
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    status = subprocess.call(shlex.split(options.prompt) + ["-t", target],
                             preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    assert relay.thread.is_alive() or not machine.running()
    return status


def main():
    parser = argparse.ArgumentParser(description="Runs Corbel in the emulator.")
    parser.add_argument("--disk", help="a bootable disk image; else one is made of the next four")
    parser.add_argument("--loader", default="build/sector.bin")
    parser.add_argument("--elf", default="build/corbel.elf")
    parser.add_argument("--store")
    parser.add_argument("--cmdline", default="")
    parser.add_argument("--model", default=bochs.ICELAKE)
    parser.add_argument("--megs", type=int, default=512)
    parser.add_argument("--ips", type=int, default=10_000_000)
    parser.add_argument("--port", type=int, default=18892, help="of the management line")
    parser.add_argument("--prompt", help="the operator's program; without it only the log is shown")
    parser.add_argument("--ready", default="", help="text of the boot log that says Corbel is up")
    parser.add_argument("--seconds", type=int, default=300, help="limit on the log shown")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="corbel-") as directory:
        disk = disk_for(options, directory)
        with bochs.Bochs(disk, model=options.model, megs=options.megs, ips=options.ips) as machine:
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
