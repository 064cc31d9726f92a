"""The documents as the tests read them: pages, code blocks, links, and how a block is run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import typer
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    "README.md",
    *sorted(str(path.relative_to(ROOT)) for path in {*DOCS.rglob("*.md")} - {*DOCS.glob("api/*")}),
]
"""Relative to the repository; docs/api/ is made by Sphinx."""

FEWER = {
    "batch": "--workers 1",
    "batch run": "--workers 1",
    "batch retry": "--workers 1",
    "batch status": "",
    "batch verify": "",
    "bench": "--limit 1 --workers 1 --set steps=2",
    "bench cost": "--scenes 1 --steps 2 --iterations 1 --model {tiny}",
    "compare": "--set steps=2",
    "demo": "--model {tiny}",
    "experiments": "text --count 2 --steps 2 --workers 1 --model {tiny}",
    "generate": "--steps 2",
    "invert": "--steps 4",
    "toybox cases": "--per-category 1",
    "toybox composed": "--count 1 --model {tiny}",
    "toybox gallery": "--set steps=1 --model {tiny}",
    "toybox obey": "--count 1 --steps 2 --model {tiny}",
    "vital-blocks": "--prompts 1 --steps 1 --model {tiny}",
}
"""By command, options that are added so that it takes a second or two: a later one overrides.

`{tiny}` is a tiny model of random weights, for commands that make many edits.
"""

SIGNS = re.compile(r"[<>|&;()]+")
"""The shell's own words."""

PROGRAMS = {"cat", "cp", "head", "ls", "mkdir", "rm", "tail"}
"""Programs beside counterflow that a block may run."""


@dataclass(frozen=True)
class Block:
    """A fenced block of code; `mark` is what follows the language."""

    page: str
    line: int
    language: str
    mark: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def runs(self) -> bool:
        """Whether it is run by the tests."""
        return not self.mark.startswith("not-run")


@cache
def tokens(page: str) -> list[Any]:
    """The page as markdown-it parses it, inline tokens after the block that holds them."""
    made = []
    for token in MarkdownIt("commonmark").enable("table").parse((ROOT / page).read_text("utf-8")):
        made += [token, *(token.children or [])]
    return made


def blocks(page: str, *languages: str) -> list[Block]:
    """The fenced blocks of some languages, in their order."""
    found = []
    for token in tokens(page):
        language, _, mark = token.info.strip().partition(" ")
        if token.type == "fence" and language in languages:
            assert token.map is not None
            found.append(Block(page, token.map[0] + 2, language, mark.strip(), token.content))
    return found


def links(page: str) -> list[str]:
    """Where links and pictures lead, the addresses of others left out."""
    found = [t.attrs.get("href") or t.attrs.get("src") for t in tokens(page)]
    return [str(each) for each in found if each and not re.match(r"\w+:", str(each))]


def anchors(page: str) -> set[str]:
    """What a link may name after `#`: headings, as GitHub and MyST write them."""
    pairs = pairwise(tokens(page))
    titles = [after.content for token, after in pairs if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(code: str) -> list[list[str]]:
    """The words of each command line, signs of the shell as words of their own."""
    lines = code.replace("\\\n", " ").splitlines()
    split = [shlex.shlex(line, posix=True, punctuation_chars=True) for line in lines]
    for each in split:
        each.whitespace_split = True
    return [words for words in map(list, split) if words]


def spoken(page: str) -> Iterator[list[str]]:
    """The commands of counterflow that a page names, in blocks that run or not and in its text."""
    told = [block.code for block in blocks(page, "sh")]
    inline = [token.content for token in tokens(page) if token.type == "code_inline"]
    told += [text for text in inline if text.startswith("counterflow ")]
    for words in (words for code in told for words in commands(code)):
        for isnt_sign, part in groupby(words, lambda word: not SIGNS.fullmatch(word)):
            if isnt_sign and (each := list(part))[0] == "counterflow":
                yield each


@cache
def program() -> Any:
    """The command line as click has it."""
    from counterflow.cli import app

    return typer.main.get_command(app)


def unknown(words: list[str]) -> list[str]:
    """The words of a command, its options and methods, that the program does not know."""
    from counterflow.methods.registry import METHODS

    command, rest = program(), words[1:]
    while rest and rest[0] in getattr(command, "commands", {}):
        command, rest = command.commands[rest[0]], rest[1:]
    if command.name == "batch":  # short for `batch run`
        command = command.commands["run"]
    elif rest and rest[0][0] != "-" and command.name != "bench" and hasattr(command, "commands"):
        return rest[:1]
    known = {name for each in command.params for name in each.opts + each.secondary_opts}
    options = [word.partition("=")[0] for word in rest if re.match("-.", word)]
    methods = [after for word, after in pairwise(rest) if word == "--method"]
    return [each for each in options if each not in known | {"--help", "-h"}] + [
        each for each in methods if each not in {*METHODS, "renoise", "NAME", "all", "…"}
    ]


def fewer(words: list[str], tiny: str) -> list[str]:
    """A command of counterflow with less to do."""
    name = next((n for n in (" ".join(words[1:3]), words[1]) if n in FEWER), None)
    return words if name is None else words + FEWER[name].format(tiny=tiny).split()


def run_shell(
    block: Block, folder: Path, counterflow: Callable[..., tuple[int, str, str]], tiny: str
) -> None:
    """Every command in its order: in this process, or by a shell where one's signs are used."""
    lines = commands(block.code)
    for words in lines:
        assert words[0] in PROGRAMS | {"counterflow"}, f"{block}: {words[0]}: mark it not-run"
    if any(SIGNS.fullmatch(word) for words in lines for word in words):
        _by_shell(block.code, folder)
        return
    for words in lines:
        if words[0] == "counterflow":
            code, _, err = counterflow(*fewer(words, tiny)[1:])
            assert code == 0, f"{block}: {shlex.join(words)}\n{err}"
        else:
            subprocess.run(words, cwd=folder, check=True, timeout=60)


def _by_shell(code: str, folder: Path) -> None:
    """As it stands, with `counterflow` as a program of its own."""
    ours = folder / ".bin" / "counterflow"
    ours.parent.mkdir(exist_ok=True)
    ours.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m counterflow "$@"\n')
    ours.chmod(0o755)
    told = {**os.environ, "PATH": f"{ours.parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["sh", "-euc", code], cwd=folder, env=told, check=True, timeout=600)


def run_python(block: Block, names: dict[str, Any]) -> None:
    """The block with the names of those before it; an error tells the page's own line."""
    lines = "\n" * (block.line - 1) + block.code
    exec(compile(lines, str(ROOT / block.page), "exec"), names)
