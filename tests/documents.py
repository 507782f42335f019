"""Read the commands and the outputs that a document shows."""

import re
from typing import NamedTuple

import docutils.core
from docutils import nodes

from helpers import PROJECT

PAGES = ["README.rst", *(f"docs/{path.name}" for path in sorted(PROJECT.glob("docs/*.rst")))]


class Command(NamedTuple):
    """A command in a document."""

    document: str
    line: int
    text: str
    output: str | None  # what is shown under it
    not_run: str | None  # the reason why it cannot be run here
    fails: bool  # whether it is to end with an error

    def __str__(self):
        return f"{self.document}:{self.line} {self.text[:80]}"


def parse(document):
    """Return a document as docutils reads it; anything that docutils complains of fails."""
    source = (PROJECT / document).read_text(encoding="utf-8")
    return docutils.core.publish_doctree(source, settings_overrides={"halt_level": 2})


def links(document):
    """Return the targets of the links and pictures of a document that are files of the project."""
    tree = parse(document)
    targets = [node.get("refuri", "") for node in tree.findall(nodes.reference)]
    targets += [node["uri"] for node in tree.findall(nodes.image)]
    return [target for target in targets if target and "://" not in target]


def setup(document):
    """Return the commands that give a page its start: its comments `.. setup: command`."""
    comments = [node.astext() for node in parse(document).findall(nodes.comment)]
    return [text.removeprefix("setup: ") for text in comments if text.startswith("setup: ")]


def blocks(document):
    """Return the first line, language, text and comment before it of each code block, in order."""
    source = (PROJECT / document).read_text(encoding="utf-8").splitlines()
    found, end = [], 0
    for block in parse(document).findall(nodes.literal_block):
        texts = block.astext().splitlines()
        start = source.index("   " + texts[0], end)
        end = start + len(texts)
        before = block.parent[block.parent.index(block) - 1]
        marker = before.astext() if isinstance(before, nodes.comment) else ""
        if isinstance(before, nodes.literal_block):
            marker = "output"
        found.append((start + 1, block["classes"][-1], block.astext(), marker))
    return found


def commands(document):
    """Return the commands of a document, in order.

    A `.. code:: bash` (or powershell) block holds commands, one a line; a `.. code:: text` block
    right after it shows what the last of them printed. The comment `.. not run: reason` before a
    block says why it cannot be run, `.. fails` that its last command ends with an error. A line
    that ends with `&&` goes on in the next one.
    """
    found = []
    for line, language, text, marker in blocks(document):
        if language not in ("bash", "powershell"):
            if marker == "output":
                found[-1] = found[-1]._replace(output=text)
            continue
        if not re.fullmatch("|output|fails|not run: .+|setup: .+", marker, re.DOTALL):
            raise ValueError(f"{document}:{line}: unknown marker {marker!r}")
        not_run = marker.removeprefix("not run: ") if marker.startswith("not run") else None
        text = text.replace("&&\n", "&& ")
        for number, command in enumerate(text.splitlines(), line):
            found.append(Command(document, number, command, None, not_run, False))
        found[-1] = found[-1]._replace(fails=marker == "fails")
    return found


def shows(expected, printed):
    """Tell whether a shown output, in which `...` stands for anything, is what was printed."""
    pattern = ".*".join(re.escape(part) for part in expected.strip().split("..."))
    lines = "\n".join(line.rstrip() for line in printed.strip().splitlines())
    return re.fullmatch(pattern, lines, re.DOTALL) is not None
