#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""manpage.py TEMPLATE VERSION <help.json >corbelctl.1: puts the program's commands into its manual page."""
import json
import sys


def escape(text):
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return "\\&" + text if text.startswith(".") else text


def entry(command):
    usage = ("%s %s" % (command["words"], command["arguments"])).strip()
    return ".TP\n.B %s\n%s.\n" % (escape(usage), escape(command["help"][0].upper() + command["help"][1:]))


def main():
    with open(sys.argv[1], encoding="utf-8") as template:
        page = template.read()
    commands = "".join(map(entry, json.load(sys.stdin)["commands"]))
    sys.stdout.write(page.replace("@VERSION@", sys.argv[2]).replace("@COMMANDS@\n", commands))


if __name__ == "__main__":
    main()
