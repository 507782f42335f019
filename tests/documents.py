"""Read the commands and the outputs that a document shows."""

import re
from pathlib import Path
from typing import NamedTuple

import docutils.core
from docutils import nodes

PROJECT = Path(__file__).resolve().parent.parent
MARKERS = ("not run:", "fails")


class Command(NamedTuple):
    """A command in a document.

    `line` is its place; `text` the command; `output` what is shown under it, or None; `not_run`
    the reason why it cannot be run here, or None; `fails` whether it is to end with an error.
    """

    document: str
    line: int
    text: str
    output: str | None
    not_run: str | None
    fails: bool

    def __str__(self):
        """Return the place and the command, as the report shows it."""
        return f"{self.document}:{self.line} {self.text}"


def parse(document):
    """Return a document as docutils reads it; anything that docutils complains of fails."""
    source = (PROJECT / document).read_text(encoding="utf-8")
    return docutils.core.publish_doctree(source, settings_overrides={"halt_level": 2})


def sections(document):
    """Return the depth of each section of a document, in order."""
    return [len(list(_parents(node))) for node in parse(document).findall(nodes.section)]


def _parents(node):
    while node := node.parent:
        yield node


def commands(document):
    """Return the commands of a document, in order.

    A `.. code:: bash` (or powershell) block holds commands, one a line; a `.. code:: text` block
    right after it shows what the last of them printed. The comment `.. not run: reason` before a
    block says why it cannot be run, `.. fails` that its last command ends with an error.
    """
    source = (PROJECT / document).read_text(encoding="utf-8").splitlines()
    found, end = [], 0
    for block in parse(document).findall(nodes.literal_block):
        texts = block.astext().splitlines()
        start = source.index("   " + texts[0], end)
        end = start + len(texts)
        before = block.parent[block.parent.index(block) - 1]
        marker = before.astext() if isinstance(before, nodes.comment) else ""
        if not {"bash", "powershell"} & set(block["classes"]):
            if "text" in block["classes"] and isinstance(before, nodes.literal_block):
                found[-1] = found[-1]._replace(output=block.astext())
            continue
        if marker and not marker.startswith(MARKERS):
            raise ValueError(f"{document}: unknown marker {marker!r}, allowed are {MARKERS}")
        not_run = marker.removeprefix("not run:").strip() if marker.startswith("not run") else None
        for line, text in enumerate(texts, start + 1):
            found.append(Command(document, line, text, None, not_run, False))
        found[-1] = found[-1]._replace(fails=marker.startswith("fails"))
    return found


def tables(document):
    """Return the rows of each table of a document: for each cell its literals, or its text."""
    return [
        [
            [[part.astext() for part in entry.findall(nodes.literal)] for entry in row.children]
            for row in table.findall(nodes.row)
        ]
        for table in parse(document).findall(nodes.table)
    ]


def shows(expected, printed):
    """Tell whether a shown output, in which `...` stands for anything, is what was printed."""
    pattern = ".*".join(re.escape(part) for part in expected.strip().split("..."))
    lines = "\n".join(line.rstrip() for line in printed.strip().splitlines())
    return re.fullmatch(pattern, lines, re.DOTALL) is not None
