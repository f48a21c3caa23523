# SPDX-License-Identifier: Apache-2.0
"""Reads the part of CDDL (RFC 8610) that docs/protocol.cddl uses, and checks decoded CBOR against it.

Maps with literal keys, optional keys and `* type => type`; arrays with members and `* type`;
choices of types; ranges; literals; rule names; the prelude's names. Anything else is an error when
the file is read, so that the document cannot say more than is checked.
"""
import re

TOKEN = re.compile(r'\s*(?:;[^\n]*|("[^"]*")|(-?\d+\.\.-?\d+)|(-?\d+)|([A-Za-z_@$][\w.@$-]*)|(=>|[{}\[\]/=:?*,]))')

PRELUDE = {
    "uint": lambda v: type(v) is int and v >= 0,
    "int": lambda v: type(v) is int,
    "tstr": lambda v: type(v) is str,
    "bstr": lambda v: type(v) is bytes,
    "bool": lambda v: type(v) is bool,
    "true": lambda v: v is True,
    "any": lambda v: True,
}


class Schema:
    def __init__(self, text):
        self.tokens, at = [], 0
        while at < len(text.rstrip()):
            match = TOKEN.match(text, at)
            assert match, "cannot read: %r" % text[at : at + 40]
            at = match.end()
            token = next((t for t in match.groups() if t), None)
            if token:
                self.tokens.append(token)
        self.rules = {}
        self.at = 0
        while self.at < len(self.tokens):
            name = self.take()
            self.expect("=")
            assert name not in self.rules, "%s is there twice" % name
            self.rules[name] = self.choice()
        self.used = set()

    # ---- reading

    def peek(self, ahead=0):
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else None

    def take(self):
        self.at += 1
        return self.tokens[self.at - 1]

    def expect(self, token):
        got = self.take()
        assert got == token, "%s instead of %s near %s" % (got, token, self.tokens[self.at - 5 : self.at + 3])

    def choice(self):
        kinds = [self.single()]
        while self.peek() == "/":
            self.take()
            kinds.append(self.single())
        return kinds[0] if len(kinds) == 1 else ("choice", kinds)

    def single(self):
        token = self.take()
        if token == "{":
            return self.map()
        if token == "[":
            return self.array()
        if token[0] == '"':
            return ("literal", token[1:-1])
        if ".." in token:
            low, high = token.split("..")
            return ("range", int(low), int(high))
        if re.fullmatch(r"-?\d+", token):
            return ("literal", int(token))
        assert re.match(r"[A-Za-z_@$]", token), token
        return ("name", token)

    def map(self):
        members, rest = {}, None
        while self.peek() != "}":
            if self.peek() == "*":
                self.take()
                key = self.choice()
                self.expect("=>")
                rest = (key, self.choice())
            else:
                optional = self.peek() == "?"
                if optional:
                    self.take()
                key = self.take().strip('"')
                self.expect(":")
                members[key] = (optional, self.choice())
            if self.peek() == ",":
                self.take()
        self.take()
        return ("map", members, rest)

    def array(self):
        if self.peek() == "*":
            self.take()
            kind = self.choice()
            self.expect("]")
            return ("list", kind)
        members = []
        while self.peek() != "]":
            members.append(self.choice())
            if self.peek() == ",":
                self.take()
        self.take()
        return ("array", members)

    # ---- checking

    def fault(self, kind, value, path):
        """None when @value is of @kind, else a sentence."""
        return getattr(self, "fault_" + kind[0])(kind, value, path)

    def fault_name(self, kind, value, path):
        if kind[1] in self.rules:
            self.used.add(kind[1])
            return self.fault(self.rules[kind[1]], value, path)
        assert kind[1] in PRELUDE, "no rule %s" % kind[1]
        return None if PRELUDE[kind[1]](value) else "%s: %r is no %s" % (path, value, kind[1])

    def fault_literal(self, kind, value, path):
        same = type(value) is type(kind[1]) and value == kind[1]
        return None if same else "%s: %r is not %r" % (path, value, kind[1])

    def fault_range(self, kind, value, path):
        inside = type(value) is int and kind[1] <= value <= kind[2]
        return None if inside else "%s: %r is not in %d..%d" % (path, value, kind[1], kind[2])

    def fault_choice(self, kind, value, path):
        faults = [self.fault(k, value, path) for k in kind[1]]
        return None if None in faults else " and ".join(faults)

    def fault_list(self, kind, value, path):
        if type(value) is not list:
            return "%s: %r is no array" % (path, value)
        return next((f for i, v in enumerate(value) if (f := self.fault(kind[1], v, "%s[%d]" % (path, i)))), None)

    def fault_array(self, kind, value, path):
        if type(value) is not list or len(value) != len(kind[1]):
            return "%s: %r is no array of %d" % (path, value, len(kind[1]))
        return next((f for i, k in enumerate(kind[1]) if (f := self.fault(k, value[i], "%s[%d]" % (path, i)))), None)

    def fault_map(self, kind, value, path):
        _, members, rest = kind
        if type(value) is not dict:
            return "%s: %r is no map" % (path, value)
        for key, (optional, _) in members.items():
            if key not in value and not optional:
                return "%s: %s is missing" % (path, key)
        for key, item in value.items():
            if key in members:
                found = self.fault(members[key][1], item, "%s.%s" % (path, key))
            elif rest:
                found = self.fault(rest[0], key, path) or self.fault(rest[1], item, "%s.%s" % (path, key))
            else:
                found = "%s: %r is not in the schema" % (path, key)
            if found:
                return found
        return None

    def check(self, rule, value):
        """AssertionError, with where and why, unless @value is what @rule says."""
        assert rule in self.rules, "no rule %s" % rule
        self.used.add(rule)
        found = self.fault(self.rules[rule], value, rule)
        assert not found, found
