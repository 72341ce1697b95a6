"""What stands on the pages: their examples, and the commands that they show."""

import re
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.recording import REPO

DOCS = REPO / "docs"
_NOT_RUN = "not run here"
PAGES = [REPO / "README.md", *sorted(DOCS.rglob("*.md"))]


class Block(NamedTuple):
    """A fenced block of a page."""

    place: str
    """The page and the line."""
    text: str
    before: str
    """The paragraph that leads to it."""


class Command(NamedTuple):
    """What a shell takes at once, in one line."""

    place: str
    text: str
    is_said_not_to_be_run: bool
    """By `not run here` in the paragraph before, or in a comment at its end or in a line above."""


def blocks(language: str, pages: list[Path] = PAGES) -> Iterator[Block]:
    """Every fenced block of a *language*."""
    fence = re.compile(rf"^( *)```{language}\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
    for page in pages:
        text = page.read_text()
        for block in fence.finditer(text):
            above = text[: block.start()].split("\n")
            place = f"{page.relative_to(REPO)}:{len(above)}"
            paragraph = "\n".join(above).rstrip().rpartition("\n\n")[2]
            yield Block(place, textwrap.dedent(block[2]), paragraph)


def block(language: str, page: str, words: str) -> str:
    """The one block of a *language* on a page of the docs that has these *words*."""
    (found,) = [block.text for block in blocks(language, [DOCS / page]) if words in block.text]
    return found


def commands() -> Iterator[Command]:
    """Every command that the pages show, but for blocks of `sh`, which tests take from them."""
    for block in blocks("console"):
        yield from _commands(block)


def _commands(block: Block) -> Iterator[Command]:
    begun: list[str] = []
    not_run = _NOT_RUN in block.before.lower()
    for line in block.text.splitlines():
        code, _, comment = f" {line}".partition(" # ")
        about_this = _NOT_RUN in comment.lower()
        not_run |= about_this and not code.strip()
        begun += [code.strip()] if code.strip() else []
        if begun and _is_complete("\n".join(begun)):
            text = " ".join(part.removesuffix("\\").strip() for part in begun)
            yield Command(block.place, text, not_run or about_this)
            begun.clear()
    assert not begun, f"{block.place}: no shell would take {begun}"


def _is_complete(lines: str) -> bool:
    if lines.endswith("\\"):
        return False
    return not subprocess.run(
        ["bash", "-n"], input=lines, text=True, stderr=subprocess.DEVNULL
    ).returncode
