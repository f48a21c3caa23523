# SPDX-License-Identifier: Apache-2.0
"""Pools on the machine: two guests that burn in one pool beside one outside.

One boot, four states of it, each over some seconds of the machine's own time; figures come from one reply at a time, and
none of them depends on this computer's clock.
"""
import time

import conftest
import vms

CPU, POOLS, SET, MOVE = 67, 3, 6, 8
SECONDS = 3 * 10 ** 9  # of the machine, which executes ten million instructions in each
SCRIPT = ('pool "edge" { cpu = { shares = 1000, limit = pct(40) } }\n'
          + vms.guest("a", "burn", more='pool = "edge", cpu = { shares = 1000 }, autostart = true')
          + vms.guest("b", "burn", more='pool = "edge", cpu = { shares = 3000 }, autostart = true')
          + vms.guest("c", "burn", more="cpu = { shares = 1000 }, autostart = true"))


def figures(machine):
    """Nanoseconds used so far: of pools, and of what is outside of them; and of VMs by themselves."""
    reply = machine.smp.read_request(CPU, POOLS)
    used = {p["name"]: p["cpu"]["used_ns"] for p in reply["pools"]}
    used["outside"] = used["root"] - used["system"] - used["edge"]
    each = {name: entry["cpu_ns"] for name, entry in machine.operator.vms().items()}
    return reply["now_ns"], used, each


def parts(machine):
    """What each had, in parts of the processor, over the next seconds."""
    began, before, vms_before = figures(machine)
    deadline = time.monotonic() + 240
    while True:
        now, after, vms_after = figures(machine)
        if now - began >= SECONDS:
            break
        assert time.monotonic() < deadline
        time.sleep(0.5)
    took = now - began
    return ({name: (after[name] - before[name]) / took for name in after},
            {name: vms_after[name] - vms_before[name] for name in vms_after})


def near(got, want, by=0.03):
    return abs(got / want - 1) <= by


def test_a_pools_limit_and_shares_hold(boot):
    machine = boot(store={"scripts/boot.lua": SCRIPT, **conftest.guest_files("burn")}, megs=96)
    machine.share_line()
    for name in "abc":
        machine.operator.wait_output(name, rb"burn: ready")

    pools, each = parts(machine)
    print("limit 40 %:", pools, each)
    # the limit of all in it together, to a tick in a window of 100 ms; its members share it 1:3
    assert 0.38 <= pools["edge"] <= 0.41 and near(each["b"], 3 * each["a"])
    assert pools["outside"] > 0.5 and pools["root"] > 0.97, "what the limit leaves is the others'"

    # no limit, and twice the weight of the VM outside, however many are in it
    machine.smp.write_request(CPU, SET, {"name": "edge", "config": {"cpu": {"limit": "none", "shares": 2000}}})
    pools, each = parts(machine)
    print("shares 2:1:", pools, each)
    assert near(pools["edge"], 2 * pools["outside"]) and near(each["b"], 3 * each["a"])

    # b moves out while it runs: the pool is a's alone, and counts as before
    machine.smp.write_request(CPU, MOVE, {"name": "b", "pool": "root"})
    pools, each = parts(machine)
    print("b moved:", pools, each)
    assert near(each["a"], 2 * each["c"]) and near(each["b"], 3 * each["c"])
    assert near(pools["edge"], pools["outside"] / 2)

    # a reservation is kept against any shares
    machine.smp.write_request(CPU, SET, {"name": "edge", "config": {"cpu": {"shares": 1, "reservation": 300000}}})
    pools, each = parts(machine)
    print("30 % reserved:", pools, each)
    assert 0.29 <= pools["edge"] <= 0.32
    assert machine.smp.read_request(74, 1) == {"checked": True}
    rows = machine.ctl("pool", "list")
    print(rows)
    assert [row.split()[0] for row in rows.splitlines()] == ["pool", "root", "system", "edge"]
