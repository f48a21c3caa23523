#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Draws docs/run.svg, the README's picture: a session of `make run` as its terminal showed it.

Nothing in the picture is written by hand: this program starts board/emulate.py on a terminal of its own, types
what an operator would, and draws the lines that came back. `make picture` runs it, in about three minutes.
Left out are most of the boot log, the prompt's greeting, and, where the ellipsis is, the guest's kernel.
"""
import argparse
import os
import pty
import re
import subprocess
import sys
import threading
import time
from xml.sax.saxutils import escape

COLUMNS = 96
# what to wait for, how long at most, and what to type then
SESSION = [
    (r"corbel> $", 1800, "console alpha"),
    (r"alpha ready[\s\S]*# $", 1800, "uname -srm; df -h /"),
    (r"# $", 300, "echo good evening >note; sync"),
    (r"# $", 300, "\x1d"),
    (r"corbel> $", 300, "vm list"),
    (r"corbel> $", 300, "volume list"),
    (r"corbel> $", 300, "set vm.alpha.cpu.shares 3000 --for 5min --why \"a busy evening\""),
    (r"corbel> $", 300, "why vm.alpha.cpu.shares"),
    (r"corbel> $", 300, "pool create edge --reservation 20% --limit 40%"),
    (r"corbel> $", 300, "pool move beta edge"),
    (r"corbel> $", 300, "pool list"),
    (r"corbel> $", 300, "=now.vm.alpha.state, #now.vm, now.host.free > MiB(64)"),
    (r"corbel> $", 300, "check"),
    (r"corbel> $", 300, "quit"),
]
# of the boot log, what says most to a reader
LOGGED = re.compile(r"\[ .*\] (Corbel|processor|memory:|VT-x|CPUs|VM|ready)")
# what is left out, and where it ends; the guest's kernel has an ellipsis in its place
GREETING = (re.compile(r"The machine runs in the background"), re.compile(r"corbel> "), None)
KERNEL = (re.compile(r"\[ +0\.0+\] Linux version"), re.compile(r"\w+-guest \w+ ready"), "    \u22ee")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LINE, CHAR, MARGIN, SIZE = 18, 7.83, 20, 13  # pixels; CHAR is what a character of SIZE takes
BAR, STEP = 34, 7                            # the window's bar, and what is left free above a command


class Session:
    """A command on a terminal; all it wrote so far."""

    def __init__(self, command):
        self.master, inside = pty.openpty()
        environment = dict(os.environ, TERM="dumb", COLUMNS=str(COLUMNS), LINES="60")
        self.process = subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, env=environment,
                                        start_new_session=True)
        os.close(inside)
        self.data = b""
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self):
        while True:
            try:
                fresh = os.read(self.master, 65536)
            except OSError:
                return
            self.data += fresh

    def text(self):
        """Without what moves a cursor or asks where it is."""
        return CONTROL.sub("", self.data.decode("utf-8", "replace").replace("\r\n", "\n"))

    def wait_for(self, pattern, seconds, since):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            shown = self.text()
            if re.search(pattern, shown[since:]):
                return len(shown)
            if self.process.poll() is not None:
                break
            time.sleep(0.2)
        raise SystemExit("picture: no %r in:\n%s" % (pattern, self.text()[-2000:]))

    def type(self, text):
        os.write(self.master, text.encode() if text == "\x1d" else (text + "\n").encode())


def record(command):
    session, since = Session(command), 0
    for pattern, seconds, keys in SESSION:
        since = session.wait_for(pattern, seconds, since)
        session.type(keys)
    session.process.wait(60)
    return session.text()


def screen_line(line):
    """What a terminal shows of @line after carriage returns and backspaces."""
    cells, at = [], 0
    for c in line:
        if c == "\r":
            at = 0
        elif c == "\b":
            at = max(0, at - 1)
        elif c >= " ":
            cells[at:at + 1] = c
            at += 1
    return "".join(cells).rstrip()


def leave_out(lines, first, end, instead):
    """Without what is between the line @first, which stays if anything stands @instead, and @end."""
    start = next(i for i, line in enumerate(lines) if first.match(line))
    stop = next(i for i, line in enumerate(lines) if i > start and end.match(line))
    return lines[:start] + ([lines[start], instead] if instead else []) + lines[stop:]


def lines_of(text):
    """What of the session is drawn."""
    lines = [screen_line(line) for line in text.split("\n")]
    lines = lines[next(i for i, line in enumerate(lines) if re.search(r"\] Corbel ", line)):]
    up = next(i for i, line in enumerate(lines) if line.endswith("] ready")) + 1
    lines = [line for line in lines[:up] if LOGGED.match(line)] + lines[up:]
    for part in (GREETING, KERNEL):
        lines = leave_out(lines, *part)
    return [line if len(line) <= COLUMNS else line[:COLUMNS - 3] + "..." for line in lines if line]


def spans(line):
    """@line in pieces: (kind, text)."""
    typed = re.match(r"(corbel> |\w+# ?)(.*)$", line)
    if typed:
        return [("prompt", typed[1]), ("typed", typed[2])]
    logged = re.match(r"(\[[ 0-9.]+\] )(.*)$", line)
    if logged:
        return [("time", logged[1]), ("log", logged[2])]
    return [("heading" if re.match(r" *(id|pool|cpu|volume|Filesystem) +\w+ +\w+ ", line) else "said", line)]


def text_element(line, y):
    """As wide as its characters say, whatever font the reader has: columns stay below one another."""
    parts = "".join('<tspan class="%s">%s</tspan>' % (kind, escape(text)) for kind, text in spans(line))
    return '<text x="%d" y="%d" textLength="%.2f" lengthAdjust="spacingAndGlyphs" xml:space="preserve">%s</text>' % (
        MARGIN, y, len(line) * CHAR, parts)


def svg(lines, title):
    rows, y = [], BAR + MARGIN + SIZE
    for line in lines:
        y += STEP if spans(line)[0][0] == "prompt" else 0
        if line:
            rows.append(text_element(line, y))
        y += LINE
    width, height = int(COLUMNS * CHAR + 2 * MARGIN), y - SIZE + MARGIN - 4
    lights = "".join('<circle cx="%d" cy="%d" r="6" fill="%s"/>' % (MARGIN + 6 + 20 * i, BAR // 2, colour)
                     for i, colour in enumerate(("#ec6a5e", "#f4bf4f", "#61c554")))
    return """<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">
<!-- SPDX-License-Identifier: Apache-2.0; made by docs/picture.py of a real session -->
<style>text { font: %dpx ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.time { fill: #5f7386; } .log { fill: #9db2c6; } .said { fill: #dce3ea; } .heading { fill: #7f93a7; }
.prompt { fill: #6cc7a6; } .typed { fill: #ffd479; } .title { fill: #8798a8; text-anchor: middle; }</style>
<rect x="0.5" y="0.5" width="%d" height="%d" rx="9" fill="#12171d" stroke="#2a333d"/>
<path d="M 1 %d V 10 A 9 9 0 0 1 10 1 H %d A 9 9 0 0 1 %d 10 V %d Z" fill="#1d252d"/>
%s
<text x="%d" y="%d" class="title">%s</text>
%s
</svg>
""" % (width, height, width, height, SIZE, width - 1, height - 1, BAR, width - 10, width - 1, BAR, lights,
       width // 2, BAR // 2 + 5, escape(title), "\n".join(rows))


def main():
    parser = argparse.ArgumentParser(description="Draws a session of the emulated machine.")
    parser.add_argument("--out", default="docs/run.svg")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what starts the machine and its prompt")
    options = parser.parse_args()
    lines = lines_of(record(options.command))
    with open(options.out, "w") as out:
        out.write(svg(lines, "make run"))
    print("%s: %d lines" % (options.out, len(lines)))


if __name__ == "__main__":
    sys.exit(main())
