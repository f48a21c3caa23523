# SPDX-License-Identifier: Apache-2.0
"""A client as strict as the known ones, written from the public SMP specification alone.

It knows each standard command's reply to the last key: a key that is not documented, one that is missing, a value of
another type, an error code that the group does not define, a reply that carries both success and failure, a wrong
sequence number, or an answer after 2.5 seconds is an error, as it is for maintained clients whose models forbid extra
keys. It learns the size of requests by command 6 of group 0 when it connects, as they do.
"""
import hashlib

import smp
from smp import READ, WRITE

TIMEOUT = 2.5


class Optional:
    def __init__(self, kind):
        self.kind = kind


def one_of(*kinds):
    return lambda v: any(fits(kind, v) for kind in kinds)


def list_of(kind):
    return lambda v: isinstance(v, list) and all(fits(kind, x) for x in v)


def map_of(kind):
    return lambda v: isinstance(v, dict) and all(isinstance(k, str) and fits(kind, x) for k, x in v.items())


def fits(kind, value):
    if isinstance(kind, dict):
        return not complaint(kind, value)
    if isinstance(kind, type):
        return type(value) is kind
    return kind(value)


def complaint(spec, reply):
    """What is wrong with @reply, None for nothing."""
    if not isinstance(reply, dict):
        return "no map: %r" % (reply,)
    for key in reply:
        if key not in spec:
            return "undocumented key %r" % key
    for key, kind in spec.items():
        optional = isinstance(kind, Optional)
        if key not in reply:
            if not optional:
                return "%s is missing" % key
        elif not fits(kind.kind if optional else kind, reply[key]):
            return "%s is %r" % (key, reply[key])
    return None


IMAGE_STATE = {"slot": int, "version": str, "image": Optional(int), "hash": Optional(bytes), "bootable": Optional(bool),
               "pending": Optional(bool), "confirmed": Optional(bool), "active": Optional(bool),
               "permanent": Optional(bool)}
SLOT_INFO = {"images": list_of({"image": int, "slots": list_of({"slot": int, "size": int, "upload_image_id": Optional(int)}),
                                "max_image_size": Optional(int)})}
IMAGES = {"images": list_of(IMAGE_STATE), "splitStatus": Optional(int)}
HASH_TYPE = {"format": int, "size": int}

REPLIES = {
    (0, 0, READ): {"r": str}, (0, 0, WRITE): {"r": str}, (0, 5, WRITE): {},
    (0, 6, READ): {"buf_size": int, "buf_count": int}, (0, 7, READ): {"output": str},
    (1, 0, READ): IMAGES, (1, 0, WRITE): IMAGES, (1, 1, WRITE): {"off": Optional(int), "match": Optional(bool)},
    (1, 5, WRITE): {}, (1, 6, READ): SLOT_INFO,
    (2, 0, READ): {"name": str, "fields": map_of(int)}, (2, 1, READ): {"stat_list": list_of(str)},
    (3, 0, READ): {"val": bytes, "max_size": Optional(int)}, (3, 0, WRITE): {}, (3, 1, WRITE): {}, (3, 2, WRITE): {},
    (8, 0, READ): {"off": int, "data": bytes, "len": Optional(int)}, (8, 0, WRITE): {"off": int},
    (8, 1, READ): {"len": int},
    (8, 2, READ): {"type": lambda v: v in ("crc32", "sha256"), "off": Optional(int), "len": int,
                   "output": one_of(int, bytes)},
    (8, 3, READ): {"types": {"crc32": Optional(HASH_TYPE), "sha256": Optional(HASH_TYPE)}}, (8, 4, WRITE): {},
    (9, 0, WRITE): {"o": str, "ret": int},
    (10, 0, READ): {"count": int}, (10, 1, READ): {"groups": list_of(int)},
    (10, 2, READ): {"group": int, "end": Optional(bool)},
    (10, 3, READ): {"groups": list_of({"group": int, "name": Optional(str), "handlers": Optional(int)})},
}

# The codes that each group defines, and those of the protocol.
GROUP_CODES = {0: range(1, 7), 1: range(1, 34), 2: range(1, 4), 3: range(1, 8), 8: range(1, 17), 9: range(1, 4),
               10: range(1, 6)}
COMMON_CODES = range(1, 14)


class Violation(AssertionError):
    """The peer's reply is not what the specification says."""


class Refused(Exception):
    def __init__(self, group, rc):
        super().__init__("group %s: rc %d" % (group, rc))
        self.group, self.rc = group, rc


class Stock:
    def __init__(self, connection, client=None):
        self.client = client or smp.Client(connection)
        self.size = None

    def connect(self):
        parameters = self.request(READ, 0, 6)
        self.size = parameters["buf_size"] - 4
        return self

    def request(self, op, group, command, **payload):
        reply = self.client.exchange(op, group, command, payload, seconds=TIMEOUT)
        if reply.version != smp.V2 or reply.flags or reply.reserved:
            raise Violation("header %r" % reply.__dict__)
        answer = smp.cbor2.loads(reply.payload)
        if "err" in answer or "rc" in answer:
            self.failure(group, answer)
        wrong = complaint(REPLIES[group, command, op], answer)
        if wrong:
            raise Violation("group %d command %d: %s" % (group, command, wrong))
        return answer

    def failure(self, group, answer):
        if "err" in answer:
            wrong = complaint({"err": {"group": int, "rc": int}}, answer)
            err = answer["err"]
            if wrong or err["group"] != group or err["rc"] not in GROUP_CODES[group]:
                raise Violation("error %r" % answer)
            raise Refused(err["group"], err["rc"])
        wrong = complaint({"rc": int, "rsn": Optional(str)}, answer)
        if wrong or answer["rc"] not in COMMON_CODES:
            raise Violation("error %r" % answer)
        raise Refused(None, answer["rc"])

    # ---- what people do with such a client

    def chunk(self, op, group, command, data, **fields):
        """As much of @data as fits a request with these fields."""
        overhead = len(smp.message(op, group, command, dict(fields, data=b""))) + 4
        return data[: self.size - overhead]

    def upload(self, name, data, start=0, stop=None):
        """From @start, where another ended, to the first chunk's end at or past @stop: how much the peer has then."""
        off = start
        while True:
            fields = {"name": name, "off": off}
            if off == 0:
                fields["len"] = len(data)
            off = self.request(WRITE, 8, 0, data=self.chunk(WRITE, 8, 0, data[off:], **fields), **fields)["off"]
            if off >= (len(data) if stop is None else stop):
                return off

    def download(self, name):
        reply = self.request(READ, 8, 0, off=0, name=name)
        data, total = reply["data"], reply["len"]
        while len(data) < total:
            data += self.request(READ, 8, 0, off=len(data), name=name)["data"]
        return data

    def upload_image(self, data):
        off, fields = 0, {"image": 0, "len": len(data), "sha": hashlib.sha256(data).digest()}
        while off != len(data):
            fields.update(off=off)
            reply = self.request(WRITE, 1, 1, data=self.chunk(WRITE, 1, 1, data[off:], **fields), **fields)
            off, fields = reply["off"], {}
        return reply
