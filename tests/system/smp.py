# SPDX-License-Identifier: Apache-2.0
"""An SMP (mcumgr) client of the tests' own, written from the protocol's text and not from Corbel's C.

Serial framing, the 8-byte header, CBOR by python3-cbor2, versions 1 and 2 and their two ways of
reporting an error. It shares nothing with lua/ or tools/, so that a mistake there cannot cancel
itself out here. Lines with any other marker than the two of the framing are kept apart: those
carry Corbel's events and consoles, which a stock client skips.

    frame = 2-byte length, body, 2-byte CRC (CRC-16/XMODEM of the body), all big-endian; Base64;
            cut into lines of marker (06 09 first, 04 14 next) + at most 124 characters + newline
"""
import base64
import binascii
import socket
import struct
import threading
import time

import cbor2

READ, READ_REPLY, WRITE, WRITE_REPLY = range(4)
V1, V2 = 0, 1

OS, STAT, SHELL, ENUM = 0, 2, 9, 10
ECHO, RESET, PARAMETERS, INFO = 0, 5, 6, 7

# return codes common to all groups
(OK, UNKNOWN, NO_MEMORY, BAD_VALUE, TIMED_OUT, NO_ENTRY, BAD_STATE, TOO_BIG, NOT_SUPPORTED, CORRUPT,
 BUSY, DENIED, TOO_OLD, TOO_NEW) = range(14)

START, CONTINUE = b"\x06\x09", b"\x04\x14"
LINE_CHARACTERS = 124


class SmpError(Exception):
    """The peer answered with an error: its code, its group (None: of the protocol), its text."""

    def __init__(self, rc, group=None, text=""):
        super().__init__("rc %d%s %s" % (rc, "" if group is None else " of group %d" % group, text))
        self.rc, self.group, self.text = rc, group, text


class NoAnswer(Exception):
    """Nothing that answers the request came in time."""


def crc16(data):
    """CRC-16/XMODEM: polynomial 1021h, initial value 0, nothing reflected."""
    return binascii.crc_hqx(data, 0)


def frame(body, crc=None, length=None):
    """The lines of one frame; @crc and @length override what is right, to send what is wrong."""
    crc = crc16(body) if crc is None else crc
    length = len(body) + 2 if length is None else length
    text = base64.b64encode(struct.pack(">H", length) + body + struct.pack(">H", crc))
    pieces = [text[at : at + LINE_CHARACTERS] for at in range(0, len(text), LINE_CHARACTERS)]
    return b"".join((CONTINUE if index else START) + piece + b"\n" for index, piece in enumerate(pieces))


def header(op, group, command, sequence, length, version=V2):
    return struct.pack(">BBHHBB", version << 3 | op, 0, length, group, sequence, command)


def message(op, group, command, payload=None, sequence=0, version=V2):
    """Header and payload; @payload is a map, or bytes that are taken as they are."""
    data = payload if isinstance(payload, bytes) else cbor2.dumps({} if payload is None else payload)
    return header(op, group, command, sequence, len(data), version) + data


class Reply:
    def __init__(self, body):
        first, self.flags, self.length, self.group, self.sequence, self.command = struct.unpack_from(">BBHHBB", body)
        self.op, self.version, self.reserved = first & 7, first >> 3 & 3, first >> 5
        self.payload = body[8:]

    def map(self):
        """The decoded map; SmpError when it says that the request failed."""
        assert self.length == len(self.payload), "header says %d bytes, %d came" % (self.length, len(self.payload))
        assert self.reserved == 0 and self.flags == 0
        data = cbor2.loads(self.payload)
        assert isinstance(data, dict), "payload is no map: %r" % (data,)
        if "err" in data:
            assert self.version == V2, "a version 1 request was answered in version 2: %r" % data
            raise SmpError(data["err"]["rc"], data["err"]["group"], data.get("rsn", ""))
        if data.get("rc", 0):
            raise SmpError(data["rc"], None, data.get("rsn", ""))
        return data


class Deframer:
    """Bytes in, frames and everything else out."""

    def __init__(self):
        self.line = bytearray()
        self.text = b""
        self.frames = []    # bodies with a right length and checksum
        self.damaged = []   # (reason, bytes)
        self.other = []     # whole lines that belong to no frame

    def feed(self, data):
        self.line += data
        while b"\n" in self.line:
            line, _, rest = bytes(self.line).partition(b"\n")
            self.line = bytearray(rest)
            self.take(line)

    def take(self, line):
        # text of others may stand before a marker on the same line; a frame starts at its marker
        at = line.find(START)
        if at >= 0:
            if at:
                self.other.append(line[:at])
            self.text = line[at + 2 :]
        elif line.startswith(CONTINUE) and self.text:
            self.text += line[2:]
        else:
            self.other.append(line)
            return
        self.finish()

    def finish(self):
        try:
            data = base64.b64decode(self.text, validate=True)
        except binascii.Error as error:
            self.damaged.append((str(error), self.text))
            self.text = b""
            return
        if len(data) < 2:
            return
        (length,) = struct.unpack_from(">H", data)
        if len(data) < length + 2:
            return
        self.text = b""
        body, crc = data[2:-2], data[-2:]
        if len(data) != length + 2 or len(body) < 8 or crc16(body) != int.from_bytes(crc, "big"):
            self.damaged.append(("length or checksum", data))
        else:
            self.frames.append(body)


def acknowledge_at_once(connection):
    """The emulator sends byte by byte, and TCP holds each back until the last one was acknowledged, which this
    side would put off for 40 ms. The option does not last (tcp(7)): to be set again after each transfer.
    """
    if connection.family == socket.AF_INET:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class Client:
    """Speaks over a connected socket. Replies are read by a thread, so nothing is lost between calls.

    @clock is what times for which answers are waited for are measured by, in seconds. They
    guard against a peer that hangs, and how fast an emulated one is follows from what else its host does: then the time
    that the emulator has had of its host's processors is the better measure.
    """

    clock = staticmethod(time.monotonic)

    def __init__(self, connection, version=V2):
        self.connection = connection
        self.version = version
        self.sequence = 0
        self.late = set()
        self.received = bytearray()
        self.deframer = Deframer()
        self.closed = False
        self.changed = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while not self.closed:
            try:
                acknowledge_at_once(self.connection)
                data = self.connection.recv(65536)
            except OSError:
                data = b""
            with self.changed:
                self.received += data
                self.deframer.feed(data)
                self.closed = not data
                self.changed.notify_all()

    def send(self, data):
        self.connection.sendall(data)
        acknowledge_at_once(self.connection)

    def wait_until(self, condition, seconds):
        """The first true value of @condition(), called whenever something arrived; else NoAnswer."""
        deadline = self.clock() + seconds
        with self.changed:
            while True:
                value = condition()
                if value:
                    return value
                left = deadline - self.clock()
                if left <= 0 or self.closed:
                    raise NoAnswer("waited %d s; last bytes on the line: %r" % (seconds, bytes(self.received[-300:])))
                self.changed.wait(min(left, 1))

    def next_frame(self, seconds=30):
        """The next frame of any kind, as a Reply."""
        self.wait_until(lambda: self.deframer.frames, seconds)
        with self.changed:
            return Reply(self.deframer.frames.pop(0))

    def next_answer(self, seconds):
        """The next Reply and what it answers, but for late ones to requests that were given up."""
        while True:
            reply = self.next_frame(seconds)
            have = (reply.op, reply.group, reply.command, reply.sequence)
            if have not in self.late:
                return reply, have
            self.late.discard(have)

    def post(self, op, group, command, payload=None, sequence=200):
        """Sends a request and waits for nothing: its answer, if there will be one, is among the next frames."""
        self.send(frame(message(op, group, command, payload, sequence)))

    def exchange(self, op, group, command, payload=None, seconds=30, version=None):
        """Sends one request and returns its Reply, which must echo what it answers."""
        version = self.version if version is None else version
        self.sequence = (self.sequence + 1) & 0xFF
        want = (op + 1, group, command, self.sequence)
        self.late.discard(want)
        self.send(frame(message(op, group, command, payload, self.sequence, version)))
        try:
            reply, have = self.next_answer(seconds)
        except NoAnswer:
            self.late.add(want)
            raise
        assert have == want, "answer (op, group, command, sequence) %r to a request that wants %r" % (have, want)
        return reply

    def read_request(self, group, command, payload=None, **more):
        return self.exchange(READ, group, command, payload, **more).map()

    def write_request(self, group, command, payload=None, **more):
        return self.exchange(WRITE, group, command, payload, **more).map()

    def echo(self, text, **more):
        return self.write_request(OS, ECHO, {"d": text}, **more)["r"]

    def shell(self, *words, **more):
        """(output, status) of the shell group's execute command."""
        answer = self.write_request(SHELL, 0, {"argv": list(words)}, **more)
        return answer["o"], answer["ret"]

    def take_over(self, seconds=30):
        """Drops what is still on its way to somebody who had the line before: answers come in the order of requests."""
        self.post(WRITE, OS, ECHO, {"d": "my turn"})
        while True:
            reply = self.next_frame(seconds)
            if (reply.op, reply.group, reply.command, reply.sequence) == (WRITE_REPLY, OS, ECHO, 200):
                return self

    def connect(self, seconds=60):
        """Waits until the peer answers an echo: a line that opens late loses what came before."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                assert self.echo("anyone there", seconds=3) == "anyone there"
                return self
            except NoAnswer:
                if time.monotonic() > deadline:
                    raise


# ---- lines that were not asked for: pushed console output ----

PUSH = b"\x05\x0c"
PUSH_BYTES = 93
OUTPUT, CLOSED, STATE = range(3)


def pushed(line):
    """The array that a line of marker 05 0C carries; AssertionError when anything of it is wrong.

    Marker, then Base64 of one CBOR array and its CRC-16/XMODEM, at most 124 characters.
    """
    assert line.startswith(PUSH), "no pushed line: %r" % line
    assert len(line) <= 2 + LINE_CHARACTERS
    data = base64.b64decode(line[2:], validate=True)
    body, crc = data[:-2], data[-2:]
    assert len(data) <= PUSH_BYTES and crc16(body) == int.from_bytes(crc, "big"), "damaged: %r" % line
    array = cbor2.loads(body)
    assert isinstance(array, list) and cbor2.dumps(array) == body, "not one array: %r" % body
    return array
