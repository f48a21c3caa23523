# SPDX-License-Identifier: Apache-2.0
"""docs/knobs.md says what the machine declares. CORBEL_WRITE_DOCS=1 writes its tables anew."""
import os

import knob_tables
from checked import ROOT
from test_tree import DESCRIBE, pages

PATH = os.path.join(ROOT, "docs", "knobs.md")


def test_tables_are_the_declarations(host):
    declarations = pages(host(), DESCRIBE, "declarations")[0]
    with open(PATH, encoding="utf-8") as f:
        text = f.read()
    wanted = knob_tables.fill(text, declarations)
    if os.environ.get("CORBEL_WRITE_DOCS"):
        with open(PATH, "w", encoding="utf-8") as f:
            f.write(wanted)
        return
    have, want = set(text.splitlines()), set(wanted.splitlines())
    assert not want - have, "docs/knobs.md lacks these rows (CORBEL_WRITE_DOCS=1 writes them)"
    assert not have - want, "docs/knobs.md has rows of what is not declared"
    assert text == wanted


def test_a_missing_row_is_found(host):
    declarations = pages(host(), DESCRIBE, "declarations")[0]
    more = dict(declarations[0], name="new")
    with open(PATH, encoding="utf-8") as f:
        text = f.read()
    assert knob_tables.fill(text, declarations + [more]) != text


def test_names_are_one_scheme(host):
    """Lower-case words between dots, so that every face can make its own name of them without loss."""
    seen = set()
    for d in pages(host(), DESCRIBE, "declarations")[0]:
        path = "%s.%s" % (d["group"], d["name"])
        assert path not in seen
        seen.add(path)
        assert all(part and part.replace("_", "").isalnum() and part == part.lower() for part in path.split(".")), path
        assert d["help"][0].isupper() and not d["help"].endswith(".")
