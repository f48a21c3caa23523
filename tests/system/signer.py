# SPDX-License-Identifier: Apache-2.0
"""Keys and logins as docs/protocol.md describes them, with python3-cryptography and python3-cbor2 alone.

    alice = Key()
    machine.smp.write_request(64, 5, {"name": "alice", "role": "owner", "key": alice.cose})
    login(machine.smp, alice)
"""
import hashlib

import cbor2
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

SESSION = 64
WHOAMI, CHALLENGE, LOGIN, LOGOUT, KEYS, ENROLL, REVOKE, TRUST, AUDIT = range(9)


class Key:
    def __init__(self, curve=None):
        self.private = ec.generate_private_key(curve or ec.SECP256R1())
        numbers = self.private.public_key().public_numbers()
        size = (self.private.curve.key_size + 7) // 8
        self.x, self.y = (n.to_bytes(size, "big") for n in (numbers.x, numbers.y))

    @property
    def cose(self):
        """The public key as COSE_Key: kty EC2, crv P-256, x, y."""
        return cbor2.dumps({1: 2, -1: 1, -2: self.x, -3: self.y})

    @property
    def point(self):
        return b"\x04" + self.x + self.y

    @property
    def thumbprint(self):
        head = bytes.fromhex("A4 01 02 20 01 21 58 20")
        return hashlib.sha256(head + self.x + bytes.fromhex("22 58 20") + self.y).digest()

    def pem(self, form=serialization.PrivateFormat.PKCS8, password=None):
        protection = (serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption())
        return self.private.private_bytes(serialization.Encoding.PEM, form, protection)

    def sign1(self, payload, kid=None, protected=None, unprotected=None, tag=True, aad=b""):
        protected = cbor2.dumps({1: -7}) if protected is None else protected
        to_sign = cbor2.dumps(["Signature1", protected, aad, payload])
        r, s = decode_dss_signature(self.private.sign(to_sign, ec.ECDSA(hashes.SHA256())))
        headers = {4: self.thumbprint if kid is None else kid}
        headers.update(unprotected or {})
        message = [protected, headers, payload, r.to_bytes(32, "big") + s.to_bytes(32, "big")]
        return cbor2.dumps(cbor2.CBORTag(18, message) if tag else message)


def payload_of(challenge):
    return cbor2.dumps([challenge[name] for name in ("protocol", "machine", "line", "nonce")])


def answer(client, key, **more):
    """A signed answer to a new challenge."""
    return key.sign1(payload_of(client.write_request(SESSION, CHALLENGE)), **more)


def login(client, key, **more):
    return client.write_request(SESSION, LOGIN, {"message": answer(client, key, **more)})


def enroll(client, name, role, key, **more):
    return client.write_request(SESSION, ENROLL, dict({"name": name, "role": role, "key": key.cose}, **more))


def own(client, name="alice"):
    """Makes the machine one that needs a login: enrolls an owner's key and logs in with it."""
    key = Key()
    enroll(client, name, "owner", key)
    login(client, key)
    client.write_request(SESSION, TRUST, {"on": False})
    return key
