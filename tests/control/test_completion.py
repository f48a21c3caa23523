# SPDX-License-Identifier: Apache-2.0
"""Completion for shells and at the prompt; the manual page; help as JSON."""
import json
import os
import re
import subprocess

from conftest import BUILD, CORBELCTL, ROOT, vm
from test_corbelctl import OK, Terminal, run


def commands():
    return json.loads(run("--json", "help").stdout)["commands"]


def complete(*words, target=None):
    done = run(*(["-t", target] if target else []), "--complete", *words)
    assert (done.returncode, done.stderr) == (OK, "")
    return done.stdout.split()


def test_words_need_no_machine():
    assert complete("im") == ["image"]
    assert complete("image", "") == ["list", "upload", "test", "confirm", "erase"]
    assert complete("vm", "st") == ["start", "stop"]
    assert complete("vm", "start", "a") == [] == complete("nonsense", "")
    first = [c["words"].split()[0] for c in commands()]
    assert complete("") == sorted(set(first), key=first.index)
    assert complete("vm", "start", "a", target="127.0.0.1:1") == []


def test_names_come_from_the_machine(host):
    machine = host(vm("alpha") + vm("beta"))
    target = "127.0.0.1:%d" % machine.port
    assert complete("vm", "start", "", target=target) == ["alpha", "beta"]
    assert complete("start", "al", target=target) == ["alpha"]
    assert complete("cp", ":scr", target=target) == [":scripts/boot.lua"]
    assert complete("rm", "ker", target=target) == ["kernel"]
    assert complete("get", "vm.", target=target) == ["vm.alpha.", "vm.beta."]
    assert "vm.alpha.mem." in complete("get", "vm.alpha.", target=target)
    assert complete("get", "vm.alpha.mem.p", target=target) == ["vm.alpha.mem.present"]
    assert complete("set", "vm.alpha.mem.p", target=target) == [], "counters cannot be set"
    assert complete("why", "vm.beta.mem.si", target=target) == ["vm.beta.mem.size"]


def bash(line, target):
    script = """source tools/completion/corbelctl.bash; COMP_LINE=$1; COMP_POINT=${#1}
                _corbelctl; printf '%s\\n' "${COMPREPLY[@]}" """
    done = subprocess.run(["bash", "-c", script, "bash", line], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=20,
                          env=dict(os.environ, PATH=BUILD + ":" + os.environ["PATH"], CORBEL_TARGET=target))
    assert done.returncode == 0 and not done.stderr, done
    return done.stdout.split()


def test_bash(host):
    machine = host(vm("alpha") + vm("beta"))
    target = "127.0.0.1:%d" % machine.port
    assert bash("corbelctl im", target) == ["image"]
    assert bash("corbelctl vm start a", target) == ["alpha"]
    assert bash("corbelctl --json -t %s vm start " % target, "127.0.0.1:1") == ["alpha", "beta"]
    assert bash("corbelctl cp :scr", target) == ["scripts/boot.lua"], "bash has the colon already"
    assert bash("corbelctl --js", target) == ["--json"]
    subprocess.run(["bash", "-n", os.path.join(ROOT, "tools/completion/corbelctl.bash")], check=True)


def test_prompt(host, tmp_path):
    machine = host(vm("alpha"))
    terminal = Terminal(machine, env={"HOME": str(tmp_path)})
    terminal.wait_for("corbel> ")
    terminal.type("get vm.alpha.mem.si\t\r")
    assert b"2 MiB" in terminal.wait_for("corbel> ")
    terminal.type("rm scripts/bo\t\r")
    assert b"'scripts/boot.lua' came with the loader" in terminal.wait_for("corbel> ")
    terminal.type("quit\r")
    assert terminal.end() == OK


def test_prompt_goes_on_after_the_line_dropped(host, tmp_path):
    from relay import Relay
    machine = host(vm("alpha"))
    with Relay(machine.port) as cable:
        terminal = Terminal(machine, "-t", cable.target, env={"HOME": str(tmp_path)})
        terminal.wait_for("corbel> ")
        cable.drop()
        terminal.type("vm list\r")
        terminal.wait_for("answers again")
        terminal.wait_for("corbel> ")
        terminal.type("vm list\r")
        assert b"alpha" in terminal.wait_for("corbel> ")
        terminal.type("quit\r")
        assert terminal.end() == OK


def test_manual_page():
    with open(os.path.join(BUILD, "corbelctl.1"), encoding="utf-8") as page:
        text = page.read()
    plain = re.sub(r"\\\(aq", "'", text).replace("\\-", "-")
    assert "@" not in text
    for command in commands():
        assert (".B %s %s" % (command["words"], command["arguments"])).strip() in plain, command
        assert command["help"][1:] in plain
    with open(os.path.join(ROOT, "docs", "corbelctl.md"), encoding="utf-8") as document:
        described = document.read().replace("\\|", "|")
    for command in commands():
        assert command["words"].split()[-1] in described, command
    done = subprocess.run([CORBELCTL, "--help"], stdout=subprocess.PIPE, text=True, check=True)
    options = set(re.findall(r"--[a-z]+", done.stdout))
    assert all(option in plain for option in options)
