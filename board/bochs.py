#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Bochs, the emulated VT-x machine of record, as a Python object.

Starts it headless, gives its serial lines as sockets (we listen, Bochs connects, so no port is
ever guessed), gathers what it says, and ends it. Time is `sync=none`: one instruction is one tick
and `ips` ticks are a virtual second, so a run depends on nothing of the host but its speed. Every
wait has a limit, and only the process started here is ever signalled.
"""
import ctypes
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time

BIOS = "/usr/share/bochs/BIOS-bochs-latest"
VGABIOS = "/usr/share/bochs/VGABIOS-lgpl-latest"
CYLINDER = 16 * 63 * 512
# Bochs allots memory block by block and keeps at most this much of the guest's in its own.
HOST_MEGS_MAX = 2048

ICELAKE = "corei7_icelake_u"
HASWELL = "corei7_haswell_4770"
SKYLAKE = "corei7_skylake_x"

RC = """\
memory: guest={megs}, host={host_megs}
cpu: model={model}, count={cpus}, ips={ips}, reset_on_triple_fault=0, ignore_bad_msrs={ignore_bad_msrs}
romimage: file={bios}
vgaromimage: file={vgabios}
ata0-master: type=disk, path={disk}, mode={mode}, cylinders={cylinders}, heads=16, spt=63
boot: disk
display_library: sdl2
log: {log}
panic: action=fatal
error: action={errors}
info: action=ignore
debug: action=ignore
clock: sync=none, time0=1000000000
pci: enabled=1, chipset=i440fx
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
port_e9_hack: enabled=1
magic_break: enabled={magic_break}
"""


class Network:
    """The machine's network card (82540EM), with the emulator's user network (slirp) on the other side.

    The machine is 10.0.2.15 there if it asks by DHCP, and 10.0.2.2 is the gateway. With restricted=True nothing of the host
    or beyond it is reached but by forwards; with False 10.0.2.2 is the host's loopback, and the machine reaches whatever the
    host does: for tests of what is ours, and for `make run`. (UDP forwards too need False: in restricted mode the emulator
    drops the answers.) Nothing listens anywhere but on 127.0.0.1.
    """

    def __init__(self, restricted=True, mac="52:54:00:12:34:56"):
        self.restricted = restricted
        self.mac = mac
        self.forwards = []

    def forward(self, guest_port, guest="10.0.2.15", port=None, protocol="tcp"):
        """Has the emulator listen on a port of the loopback interface, which is returned, for @guest_port of @guest."""
        port = port or free_port(protocol)
        self.forwards.append("%s:127.0.0.1:%d-%s:%d" % (protocol, port, guest, guest_port))
        return port

    def script(self):
        return "".join(["# slirp config\n", "restricted = %d\n" % self.restricted]
                       + ["hostfwd = %s\n" % forward for forward in self.forwards])

    def config(self, script):
        return "plugin_ctrl: e1000=1\ne1000: enabled=1, mac=%s, ethmod=slirp, script=%s\n" % (self.mac, script)


def free_port(protocol="tcp"):
    """One that nobody had a moment ago: the emulator cannot be asked to choose, nor can it take over a socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Timeout(Exception):
    """Something awaited did not come; the text says what was seen instead."""


class Stream:
    """Bytes that arrive over time: waited for by content, kept from the beginning."""

    def __init__(self, name):
        self.name = name
        self.data = bytearray()
        self.ended = False
        self.changed = threading.Condition()

    def feed(self, chunk):
        with self.changed:
            if chunk:
                self.data += chunk
            else:
                self.ended = True
            self.changed.notify_all()

    def text(self):
        with self.changed:
            return self.data.decode("utf-8", "replace")

    def wait_for(self, what, seconds, start=0):
        """The match of the bytes pattern @what from offset @start on, or Timeout."""
        pattern = re.compile(what if isinstance(what, bytes) else what.encode(), re.MULTILINE)
        deadline = time.monotonic() + seconds
        with self.changed:
            while True:
                found = pattern.search(self.data, start)
                if found:
                    return found
                left = deadline - time.monotonic()
                if self.ended or left <= 0:
                    break
                self.changed.wait(left)
            seen = bytes(self.data[max(start, len(self.data) - 3000):]).decode("utf-8", "replace")
        raise Timeout("%s %s without /%s/; its last bytes:\n%s" % (
            self.name, "ended" if self.ended else "waited %d s" % seconds, pattern.pattern.decode(), seen))


class Serial:
    """One UART of the machine: the listening socket before, the connection after the start."""

    def __init__(self):
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(1)
        self.connection = None

    def address(self):
        return "127.0.0.1:%d" % self.listener.getsockname()[1]

    def accept(self, seconds):
        self.listener.settimeout(seconds)
        self.connection, _ = self.listener.accept()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.listener.close()

    def close(self):
        self.listener.close()
        if self.connection:
            self.connection.close()


def follow(read, stream):
    """Feeds @stream from read() until it ends, in a thread of its own."""

    def run():
        chunk = b"start"
        while chunk:
            try:
                chunk = read()
            except OSError:
                chunk = b""
            stream.feed(chunk)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def end_with_parent():
    """In the child: SIGTERM when whoever started it dies, however that happens (prctl(2))."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Bochs:
    """One machine. Use it as a context manager, so that no emulator outlives its user.

    disk      image file; its size is a whole number of cylinders (board/mkdisk.py, mkimage.py)
    network   a Network: the machine has a network card
    keep      when True: what the machine writes to its disk goes into the file
    com1      the boot log: gathered in .log, a Stream
    com2      the management line: .management, a connected socket that is the caller's to read
    com3      when True: .extra, a socket like com2
    errors    "report" has each EPT violation and each refused VM entry in bochs.log, at a price in time
    e9        what the guest writes to port E9h, and Bochs' own lines, a Stream
    debugger  when True: break_in(), step() and go_on() work
    """

    def __init__(self, disk, model=ICELAKE, megs=256, ips=10_000_000, cpus=1, com3=False,
                 ignore_bad_msrs=False, magic_break=False, errors="ignore", commands=("c", "q"), extra=(), workdir=None,
                 debugger=False, keep=False, network=None):
        self.directory = tempfile.TemporaryDirectory(prefix="bochs-", dir=workdir)
        self.lines = {"com1": Serial(), "com2": Serial()}
        if com3:
            self.lines["com3"] = Serial()
        self.disk = disk
        size = os.path.getsize(disk)
        if size % CYLINDER:
            raise ValueError("%s is %d bytes, not a whole number of cylinders" % (disk, size))
        self.config = RC.format(
            megs=megs, host_megs=min(megs, HOST_MEGS_MAX), model=model, cpus=cpus, ips=ips,
            ignore_bad_msrs=int(ignore_bad_msrs), bios=BIOS,
            vgabios=VGABIOS, disk=os.path.abspath(disk), mode="flat" if keep else "volatile", cylinders=size // CYLINDER,
            log=self.path("bochs.log"), magic_break=int(magic_break), errors=errors)
        for name, line in self.lines.items():
            self.config += "%s: enabled=1, mode=socket-client, dev=%s\n" % (name, line.address())
        self.network = network
        if network:
            self.config += network.config(self.path("slirp.conf"))
        self.config += "".join(line + "\n" for line in extra)
        # after the last line of its file the emulator's debugger reads its standard input
        self.commands = ("c",) if debugger else commands
        self.debugger = debugger
        self.process = None
        self.log = Stream("com1")
        self.e9 = Stream("port E9h")

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self, seconds=240):
        with open(self.path("bochsrc"), "w") as f:
            f.write(self.config)
        if self.network:
            with open(self.path("slirp.conf"), "w") as f:
                f.write(self.network.script())
        with open(self.path("go.rc"), "w") as f:
            f.write("\n".join(self.commands) + "\n")
        environment = dict(os.environ, SDL_VIDEODRIVER="dummy", SDL_AUDIODRIVER="dummy")
        self.process = subprocess.Popen(
            ["bochs", "-q", "-f", self.path("bochsrc"), "-rc", self.path("go.rc")], env=environment,
            stdin=subprocess.PIPE if self.debugger else subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            cwd=self.directory.name, preexec_fn=end_with_parent)
        stdout = self.process.stdout.fileno()
        self.readers = [follow(lambda: os.read(stdout, 65536), self.e9)]
        try:
            for line in self.lines.values():
                line.accept(seconds)
        except OSError:
            self.stop()
            raise Timeout("Bochs did not connect its serial lines:\n" + self.e9.text()[-3000:]) from None
        com1 = self.lines["com1"].connection
        self.readers.append(follow(lambda: com1.recv(65536), self.log))

    @property
    def management(self):
        return self.lines["com2"].connection

    @property
    def extra(self):
        return self.lines["com3"].connection

    def send_log_line(self, data):
        """Bytes typed into com1."""
        self.lines["com1"].connection.sendall(data)

    def wait(self, seconds):
        """Exit status once the machine has stopped by itself; Timeout stops it."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.stop()
            raise Timeout("the machine still ran after %d s; its log ends:\n%s"
                          % (seconds, self.log.text()[-3000:])) from None
        for reader in self.readers:
            reader.join(10)
        return status

    def running(self):
        return self.process.poll() is None

    def ticks(self):
        """Instructions executed until the end, None when Bochs did not say."""
        found = re.findall(r"\(\d+\)\.\[(\d+)\]", self.e9.text())
        return int(found[-1]) if found else None

    def cpu_seconds(self):
        """Time of the host's processors that the emulator has used: a clock that runs when the machine does."""
        with open("/proc/%d/stat" % self.process.pid, "rb") as f:
            fields = f.read().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    # ---- the emulator's debugger ----

    def stopped(self, seconds, start):
        """Ticks at which the debugger stopped, as it says in the output from @start on."""
        return int(self.e9.wait_for(rb"Next at t=(\d+)", seconds, start)[1])

    def command(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def break_in(self, seconds=20):
        """Stops the processor where it is; returns the time in ticks."""
        start = len(self.e9.data)
        self.process.send_signal(signal.SIGINT)
        return self.stopped(seconds, start)

    def step(self, seconds):
        """Executes one instruction; None when the processor, halted, found none within @seconds of ours."""
        start = len(self.e9.data)
        self.command("s 1")
        try:
            return self.stopped(seconds, start)
        except Timeout:
            return None

    def go_on(self):
        self.command("c")

    def bochs_log(self):
        try:
            with open(self.path("bochs.log"), errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def cut_power(self):
        """Ends the emulator at once, as it stands; its disk can be given to another one."""
        self.process.kill()
        self.process.wait()
        if os.path.exists(self.disk + ".lock"):  # the emulator's, which had no time to remove it
            os.unlink(self.disk + ".lock")
        self.stop()

    def stop(self):
        """Ends the emulator if it runs, and closes the lines. The logs stay readable."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process and self.process.stdin:
            self.process.stdin.close()
        for line in self.lines.values():
            line.close()
