# SPDX-License-Identifier: Apache-2.0
"""Shares one management line among TCP clients of the loopback interface.

A serial cable has one end; an operator has a prompt open, wants a second one, and runs a script.
So that their frames never mix, whole frames are passed: a client's lines are held until its frame
is complete, and a reply goes to the client whose request it answers (same group, command and
sequence; the peer answers in order), to nobody when that client has left. Lines that belong to
no frame, such as events and consoles, go to every client. What the machine says while nobody
listens is dropped, as on a cable with no one at its end. Only the framing is read here: markers,
the length, and the header's last fields.
"""
import base64
import binascii
import select
import socket
import threading
import time

START, CONTINUE = b"\x06\x09", b"\x04\x14"
# Longer lines than any frame has are passed on unread.
LINE_MAX = 1024
# A request that was not answered by then never will be.
ANSWER_SECONDS = 60


class Lines:
    """Splits bytes into items: (identity or None, raw bytes), a whole frame or one other line."""

    def __init__(self):
        self.pending = bytearray()
        self.raw, self.text = b"", b""

    def feed(self, data):
        self.pending += data
        items = []
        while b"\n" in self.pending or len(self.pending) > LINE_MAX:
            end = self.pending.find(b"\n") + 1 or len(self.pending)
            line = bytes(self.pending[:end])
            del self.pending[:end]
            items += self.line(line)
        return items

    def line(self, line):
        at = line.find(START)
        if at >= 0:
            before = [(None, line[:at])] if at else []
            self.raw, self.text = line[at:], line[at + 2 :].strip()
            return before + self.complete()
        if line.startswith(CONTINUE) and self.raw:
            self.raw += line
            self.text += line[2:].strip()
            return self.complete()
        return [(None, line)]

    def complete(self):
        """The frame, if all of it is there or if it cannot be one."""
        try:
            data = base64.b64decode(self.text, validate=True)
        except binascii.Error:
            data = b"\0\0"
        if len(data) >= 2 and len(data) - 2 < int.from_bytes(data[:2], "big"):
            return []
        # length, then op and version, flags, length, group, sequence, command
        identity = data[6:10] if len(data) >= 12 else None
        item = [(identity, self.raw)]
        self.raw, self.text = b"", b""
        return item


def acknowledge_at_once(line):
    """The emulator sends byte by byte, and TCP holds each back until the last one was acknowledged, which this
    side would put off for 40 ms. The option does not last (tcp(7)): to be set again after each transfer.
    """
    if line.family == socket.AF_INET:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class Relay:
    """Serves @port for the machine behind @line, a connected socket, until that ends."""

    def __init__(self, line, port, host="127.0.0.1"):
        self.line = line
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((host, port))
        self.listener.listen(8)
        self.address = self.listener.getsockname()
        self.clients = {}   # socket -> Lines
        self.asked = []     # (identity, socket, when), oldest first
        self.from_line = Lines()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while self.step():
                pass
        except OSError:
            pass
        for client in list(self.clients):
            self.drop(client)
        self.listener.close()

    def step(self):
        ready, _, _ = select.select([self.line, self.listener, *self.clients], [], [])
        for source in ready:
            if source is self.line:
                data = self.line.recv(65536)
                acknowledge_at_once(self.line)
                if not data:
                    return False
                for identity, raw in self.from_line.feed(data):
                    self.to_clients(identity, raw)
            elif source is self.listener:
                client, _ = self.listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.clients[client] = Lines()
            elif source in self.clients:
                self.to_line(source)
        return True

    def to_line(self, client):
        try:
            data = client.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.drop(client)
            return
        for identity, raw in self.clients[client].feed(data):
            if identity is not None:
                now = time.monotonic()
                self.asked = [a for a in self.asked if now - a[2] < ANSWER_SECONDS]
                self.asked.append((identity, client, now))
            self.line.sendall(raw)
            acknowledge_at_once(self.line)

    def to_clients(self, identity, raw):
        owners = list(self.clients)
        if identity is not None:
            entry = next((a for a in self.asked if a[0] == identity), None)
            owners = []
            if entry:
                self.asked.remove(entry)
                owners = [entry[1]] if entry[1] in self.clients else []
        for client in owners:
            try:
                client.sendall(raw)
            except OSError:
                self.drop(client)

    def drop(self, client):
        self.clients.pop(client, None)
        client.close()
