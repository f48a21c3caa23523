# SPDX-License-Identifier: Apache-2.0
"""The first steps of `make soak-smp`: see soak.py. As many as a run of all tests has time for."""
import conftest
import soak

OPERATIONS, SEED = 110, 20261121


def test_a_random_life(boot):
    store = {"scripts/boot.lua": soak.SCRIPT, **conftest.guest_files(*soak.IMAGES)}
    machine = boot(store=store, megs=256, cpus=4, cmdline="board=bochs")
    machine.log.wait_for(r"\] ready", 300)
    life = soak.Soak(machine, SEED)
    life.run(most=OPERATIONS)
    life.finish()
    print(life.report())
    assert not soak.trouble_in(machine.log)
    assert life.checks >= 2 and life.turns > 0 and life.migrations > 0
