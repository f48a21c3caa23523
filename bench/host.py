#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""host.py PROGRAM...: instructions per operation of the managers and of the control plane, by callgrind.

The programs are bench/host_*.c. Prints a table with the bar of each case and exits 1 when one is missed.
The managers' bars are shares of what docs/memory.md and docs/scheduler.md promise for a whole VM exit: the
engine's part (exit, decode, EPT, entry) is measured in the emulator. A case may print a bar of its own,
when that depends on what it did; those of libcbor are what ours is held against.
"""
import re
import subprocess
import sys
import tempfile

BARS = {
    "touch_4k_pool": 200,
    "touch_4k_inline": 820,
    "touch_4k_new_chunk": 400,
    "touch_2m": 280,
    "touch_4k_pool_ept": 300,
    "touch_4k_inline_ept": 920,
    "touch_4k_new_table_ept": 3200,
    "touch_2m_ept": 630,
    "look_up_4k": 50,
    "remove_4k": 300,  # its pins are looked at
    "remove_split_2m": 11000,
    "drain_64": 17500,
    "alloc_and_free": 400,
    "sched_turn": 400,
    "sched_wake": 500,
    "sched_block_and_wake": 1000,
    "tree_find": 8000,
    "device_read": 30,
    "device_read_later": 50,
    "layer_read": 90,
    "layer_read_parts": 90,
    "layer_read_later": 90,
    "layer_write": 90,
    "layer_read_depth_8": 300,
    "layer_discard_most": 20000,
    "virtq_pop_push": 200,
    "virtq_pop_push_indirect": 430,
    "virtio_blk_kick": 1500,
    "virtio_blk_kick_most": 20000,
    "net_parse_tcp4": 120,
    "net_parse_tcp4_to_cut": 165,
    "net_parse_tcp6": 120,
    "net_hash_tcp4": 50,
    "net_as_it_is": 250,
    "net_as_it_is_in_pieces": 1150,
    "net_finish_mtu": 1500,
    "net_cut_segment": 1800,
    "nic_receive": 200,
    "nic_receive_batch": 140,
    "nic_send": 150,
    "nic_send_batch": 130,
    "vnet_large": 4000,
    "vnet_large_scattered": 7000,
    "vnet_small": 1500,
}


# Ours, and the ways of the other library, of which the fastest counts. Its streaming decoder is shown and not
# among them: it splits the bytes into tokens and checks neither nesting nor UTF-8, which ours and its tree's do.
RATIOS = {
    "cbor_encode": ("libcbor_stream_encode", "libcbor_tree_encode"),
    "cbor_decode": ("libcbor_tree_decode",),
}


# What one case costs more than another: what a layer adds to a request, with its metadata in memory.
ADDED = {
    "layer_read": ("device_read", 60),
    "layer_read_parts": ("device_read", 60),
    # A device that answers later is counted with the way back, which the bar of 60 does not have.
    "layer_read_later": ("device_read_later", 72),
}


# Functions that are not counted: the copy of frames, which is measured by the byte.
WITHOUT = {case: "net_cut_copy" for case in ("vnet_large", "vnet_large_scattered", "vnet_small")}


def measure(program, case):
    """Instructions of one round or the case's own figure, and what it printed as `name value` lines."""
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={scratch}/out", "--collect-atstart=no",
             f"--toggle-collect=case_{case}", *(["--toggle-collect=" + WITHOUT[case]] if case in WITHOUT else []),
             program, case],
            check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    total = int(re.search(r"Collected : (\d+)", done.stderr)[1])
    rounds = int(said["rounds"])
    return int(said.get("figure", total / rounds)), {name: value for name, value in said.items() if name != "rounds"}


def show(name, cost, bar, figure="%.0f"):
    over = bar is not None and cost > bar
    print("%-24s %12s %9s%s" % (name, figure % cost, "" if bar is None else bar, "  MISSED" if over else ""),
          flush=True)
    return over


def run(programs):
    """Measures and shows every case; returns a sentence for each bar that is missed."""
    missed, costs, encodings = [], {}, set()
    print(f"\n{'operation, without emulator':24} {'instructions':>12} {'bar':>9}")
    for program in programs:
        for case in subprocess.run([program], check=True, text=True, stdout=subprocess.PIPE).stdout.split():
            costs[case], said = measure(program, case)
            bar = int(said["bar"]) if "bar" in said else BARS.get(case)
            assert bar is not None or "cbor" in case, "%s has no bar" % case
            encodings |= {said["encoded"]} if "encoded" in said else set()
            if show(case, costs[case], bar):
                missed.append("%s: %.0f, at most %d" % (case, costs[case], bar))
    assert len(encodings) <= 1, "the libraries encode the same map to different bytes"
    for case, (plain, bar) in ADDED.items():
        if case in costs and show(case + ", added", costs[case] - costs[plain], bar):
            missed.append("%s: adds %.0f, at most %d" % (case, costs[case] - costs[plain], bar))
    for ours, others in RATIOS.items():
        if ours in costs and others[0] in costs:
            ratio = costs[ours] / min(costs[other] for other in others)
            if show(ours + " / libcbor", ratio, 1, "%.2f"):
                missed.append("%s: %.2f times libcbor, at most 1" % (ours, ratio))
    return missed


if __name__ == "__main__":
    sys.exit(1 if run(sys.argv[1:]) else 0)
