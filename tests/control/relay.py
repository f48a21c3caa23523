# SPDX-License-Identifier: Apache-2.0
"""A cable that damages: listens like a serial server, hands bytes on to a machine, and does what it is told to them.

    with Relay(machine.port, up=drop_every(50)) as relay:
        ... corbelctl -t relay.target ...

A damage is a function of (bytes, position of the first since the start) that returns what arrives of them;
raising Cut drops the line. Each connection of a client is a new one to the machine.
"""
import random
import socket
import threading


class Cut(Exception):
    """The line drops, after these bytes."""

    def __init__(self, data=b""):
        super().__init__()
        self.data = data


def clean(data, at):
    return data


def each(change, distance, seed=1):
    """@change(byte) in place of a byte about every @distance."""
    chance = random.Random(seed)

    def damage(data, at):
        return b"".join(change(bytes([b])) if chance.randrange(distance) == 0 else bytes([b]) for b in data)

    return damage


def lose(distance, **more):
    return each(lambda byte: b"", distance, **more)


def double(distance, **more):
    return each(lambda byte: byte * 2, distance, **more)


def flip(distance, **more):
    return each(lambda byte: bytes([byte[0] ^ 0x10]), distance, **more)


def cut_after(count, times=1):
    """The line drops behind each @count bytes, so many times."""
    left = [times]

    def damage(data, at):
        if left[0] and at % count + len(data) >= count:
            left[0] -= 1
            raise Cut(data[: count - at % count])
        return data

    return damage


class Relay:
    def __init__(self, port, up=clean, down=clean):
        self.port, self.damages = port, (up, down)
        self.counts = [0, 0]
        self.connections = 0
        self.closing = False
        self.refuses = False  # hangs up on whoever comes
        self.pair = None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.target = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while not self.closing:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            if self.refuses:
                client.close()
                continue
            machine = socket.create_connection(("127.0.0.1", self.port))
            for line in (client, machine):
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.pair = client, machine
            threads = [threading.Thread(target=self.carry, args=(0, client, machine), daemon=True),
                       threading.Thread(target=self.carry, args=(1, machine, client), daemon=True)]
            for thread in threads:
                thread.start()
            for thread in threads:  # a machine's line takes one client at a time
                thread.join()

    def carry(self, way, source, target):
        try:
            while data := source.recv(4096):
                at, self.counts[way] = self.counts[way], self.counts[way] + len(data)
                target.sendall(self.damages[way](data, at))
        except Cut as cut:
            target.sendall(cut.data)
        except OSError:
            pass
        self.drop((source, target))

    def drop(self, pair=None):
        """Hangs up."""
        for line in pair or self.pair or ():
            try:
                line.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            line.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closing = True
        self.listener.close()
        self.drop()
