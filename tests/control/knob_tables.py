# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/knobs.md, made from what the machine declares (group 76, command 5)."""
import re

KINDS = ("total", "gauge", "state", "histogram")


def size(value):
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        factor = 1 << 10 * (1 + ("KiB", "MiB", "GiB", "TiB").index(unit))
        if value and value % factor == 0:
            return "%d %s" % (value // factor, unit)
    return "%d B" % value


def time(value):
    for unit, factor in (("s", 10 ** 9), ("ms", 10 ** 6), ("us", 1000)):
        if value and value % factor == 0:
            return "%d %s" % (value // factor, unit)
    return "%d ns" % value


def share(value):
    return "%d %%" % (value // 10000) if value % 10000 == 0 else "%d ppm" % value


def rate(value):
    for unit, factor in (("Gbit/s", 125000000), ("Mbit/s", 125000), ("kbit/s", 125)):
        if value and value % factor == 0:
            return "%d %s" % (value // factor, unit)
    return "%d B/s" % value


def shown(value, unit):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    return {"bytes": size, "ns": time, "ppm": share, "bytes/s": rate}.get(unit, str)(value)


def place(group):
    if group in ("vm.disk", "vm.net"):
        return {"vm.disk": "vm.NAME.disk.DISK", "vm.net": "vm.NAME.net.INTERFACE"}[group]
    return group + ".NAME" if group in ("vm", "pool", "volume", "domain", "network", "nic") else group


def counters(declarations):
    lines = ["| path | kind | unit | |", "| --- | --- | --- | --- |"]
    for d in declarations:
        if d["kind"] not in KINDS:
            continue
        path = "%s.%s" % (place(d["group"]), d["name"])
        if "label" in d and d["kind"] != "state":
            path += "." + d["label"].upper()
        lines.append("| `%s` | %s | %s | %s |" % (path, d["kind"], d.get("unit", ""), d["help"]))
    return lines


def takes(d):
    if d["kind"] == "bool":
        return "true or false"
    if d["kind"] == "cpus":
        return 'CPUs such as `0-3,6`, or `any`'
    if d["kind"] == "choice":
        return ", ".join(d["names"])
    if d["min"] == d["max"]:
        return shown(d["min"], d.get("unit"))
    text = "%s to %s" % (shown(d["min"], d.get("unit")), shown(d["max"], d.get("unit")))
    text += ", or none" if d.get("none") else ""
    return text + (", a multiple of %s" % shown(d["step"], d.get("unit")) if "step" in d else "")


def settings(declarations):
    lines = ["| path | takes | default | counts | who | |", "| --- | --- | --- | --- | --- | --- |"]
    for d in declarations:
        if d["kind"] in KINDS:
            continue
        default = shown(d["default"], d.get("unit")) if "default" in d else ""
        lines.append("| `%s.%s` | %s | %s | %s | %s | %s |" % (
            place(d["group"]), d["name"], takes(d), default, "at once" if d["when"] == "live" else "at the start",
            d["role"], d["help"]))
    return lines


def fill(text, declarations):
    """docs/knobs.md with its tables as they should be."""
    for name, table in (("counters", counters), ("settings", settings)):
        pattern = r"(<!-- %s: [^\n]*-->\n).*?(<!-- end -->)" % name
        text, count = re.subn(pattern, lambda m: m[1] + "\n".join(table(declarations)) + "\n" + m[2], text,
                              flags=re.S)
        assert count == 1, "docs/knobs.md has no place for its table of %s" % name
    return text
