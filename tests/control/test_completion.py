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


def test_networks_and_their_ports(host):
    machine = host('network "lan" {} network "wan" { uplink = "nic0" }' +
                   vm("alpha", "echo", more='autostart = true, net = { lan0 = virtio { network = "lan" } }'))
    target = "127.0.0.1:%d" % machine.port
    assert complete("net", "") == ["list", "show", "nics", "define", "set", "remove", "link"]
    assert complete("net", "show", "", target=target) == ["lan", "wan"]
    assert complete("capture", "", target=target) == ["alpha/lan0", "wan/uplink"]
    assert complete("net", "link", "al", target=target) == ["alpha/lan0"]
    assert "vm.alpha.net." in complete("get", "vm.alpha.", target=target)


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


ZSHRC = """
PS1='zsh> '
fpath=(%s/tools/completion $fpath)
autoload -Uz compinit
compinit -u -D
show_line() { print -rn -- "<<$BUFFER>>" >$TTY }
zle -N show_line
bindkey -e '^G' show_line
"""


class Zsh(Terminal):
    """zsh as somebody would set it up, at a terminal of its own."""

    def __init__(self, machine, folder):
        (folder / ".zshrc").write_text(ZSHRC.replace("%s", ROOT))
        super().__init__(machine, command=["zsh", "-i"], env={
            "ZDOTDIR": str(folder), "PATH": BUILD + ":" + os.environ["PATH"],
            "CORBEL_TARGET": "127.0.0.1:%d" % machine.port, "LC_ALL": "C.UTF-8"})
        self.wait_for("zsh> ")

    def line(self, typed):
        """The command line after a tab behind @typed."""
        self.type("\x15" + typed + "\t\x07")
        self.wait_for("<<")
        return self.wait_for(">>")[:-2].decode()

    def offered(self, typed):
        """The words of the list that two tabs behind @typed show."""
        self.type("\x15" + typed + "\t\t\x07")
        screen = re.sub(rb"\x1b[\[(?=>][0-9;?]*[A-Za-z]?", b" ", self.wait_for("<<"))
        self.wait_for(">>")
        return screen.replace(typed.encode(), b"").decode().split()


def test_zsh(host, tmp_path):
    machine = host(vm("alpha") + vm("beta"))
    target = "127.0.0.1:%d" % machine.port
    zsh = Zsh(machine, tmp_path)
    assert zsh.line("corbelctl im") == "corbelctl image "
    assert zsh.line("corbelctl image er") == "corbelctl image erase "
    assert zsh.line("corbelctl --js") == "corbelctl --json "
    assert zsh.line("corbelctl vm start a") == "corbelctl vm start alpha "
    assert zsh.line("corbelctl vm start alpha b") == "corbelctl vm start alpha beta "
    assert zsh.line("corbelctl cp :scr") == "corbelctl cp :scripts/boot.lua "
    assert zsh.line("corbelctl get vm.al") == "corbelctl get vm.alpha.", "a path goes on"
    assert {"alpha", "beta"} <= set(zsh.offered("corbelctl vm start "))
    assert {"list", "upload", "test", "confirm", "erase"} <= set(zsh.offered("corbelctl image "))
    zsh.type("\x15CORBEL_TARGET=127.0.0.1:1\r")
    assert zsh.line("corbelctl --json -t %s vm stop be" % target) == "corbelctl --json -t %s vm stop beta " % target
    assert zsh.line("corbelctl vm stop bet") == "corbelctl vm stop bet", "no machine, no names"
    zsh.type("\x15exit\r")
    assert zsh.end() == 0


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
