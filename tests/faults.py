"""Bad inputs and faults, each with what must happen, and the tests that prove it.

A test says which it proves: `@pytest.mark.fault("3", "F9")`. `python tests/faults.py` writes the
table of `docs/faults.md`; a test checks that it is up to date and that no fault lacks a test.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
ROOMS = ("tests", "browser", "faults")
PAGE = TESTS.parent / "docs" / "faults.md"

FAULTS = {
    "1": "A PNG of 30,000 × 30,000 pixels: refused by its header, before it is decoded",
    "2": "A FITS, EPS, PDF or SVG that is called .png: refused, as no supported format",
    "3": "A JPEG that is cut short: a typed error; a batch goes on",
    "4": "An empty file, a folder, a pipe in place of a picture: a typed error, no hang",
    "5": "A picture turned by its EXIF: upright, and its mask with it",
    "6": "EXIF that is damaged: a warning",
    "7": "CMYK, or a profile of a wide gamut: converted to sRGB by the profile",
    "8": "Grey of 16 bits: scaled, not clipped",
    "9": "Transparency, of RGBA or of a palette: flattened on white",
    "10": "An animation: its first frame, and a warning",
    "11": "1 × 1, 8000 × 16, sides that are no multiple of the model's: refused, or edited at a "
    "size that suits the model, and the result has the picture's own size",
    "12": "A profile or a text of 2 MB in a picture: a typed error",
    "13": "A mask of another size, or all in or all out: a typed error, or the metric is n/a",
    "14": "A run-length mask that is odd, negative or too long: a typed error with item and index",
    "15": "A prompt that is empty: refused. One that is too long: told once, with what is not "
    "seen. Brackets and emoji: read as they are",
    "16": "A target that equals the source: a warning",
    "17": "Options that are NaN, infinite or out of bounds: refused before a model loads",
    "18": "A path of an item that leaves its folder, by dots or by a link: refused",
    "19": "Weights that are pickled, a pipeline with code of its own: refused, and nothing is run",
    "20": "A repository that is gated, absent, or not to be reached: one line that says what to do",
    "21": "Memory runs out: what is kept is let go, and it is tried once more, one sample at a "
    "time; then that item alone fails, and its memory is free again",
    "22": "Latents that are NaN: a typed error, and no picture",
    "23": "A process killed while it writes, a full disk, a read-only folder: no half result, and "
    "the same command finishes",
    "24": "Two runs on one folder, or other options on resuming: refused, and the difference shown",
    "25": "The page: an upload of 500 MB is refused, of fifty clicks some are told that the queue "
    "is full, a closed tab's work ends and its files go, a prompt of `<script>` is escaped",
    "26": "An inversion file of another model or version, or cut short: a typed error with both "
    "sides",
    "F1": "The lock of a results folder under another name of it: a link, or `.` at its end",
    "F2": "The lock released by one run while others wait for it",
    "F3": "Weights that are altered in the middle of a file: another identity",
    "F4": "The parent of a benchmark is killed: its workers end, too",
    "F5": "One worker is killed: the run goes on",
    "F6": "Resuming with another --limit, or a source picture that was replaced: refused",
    "F7": "A published picture that is gone or altered: found, and made again",
    "F8": "An item of a benchmark named `method`, as a file of ours",
    "F9": "An inversion file with sizes or counts that are infinite or negative: refused",
    "F10": "An inversion file with settings of another type, deep nesting, half a character: "
    "refused",
    "F11": "An inversion file with a picture that is empty, RGBA, of floats or of another size: "
    "refused",
    "F12": "An inversion file with an empty prompt: refused",
    "F13": "A picture's record with a seed or prompt of another type, a negative seed, an empty "
    "target, turns that are a text: refused",
    "F14": "A picture's record of 100,000 turns: refused",
    "F15": "A stranger's picture that names a model, weights or a LoRA: not opened unless the "
    "user names them, too",
    "F16": "`replay` of a picture of `bench` or `toybox draw`: one line that says what made it",
    "F17": "An output in a folder that may not be written or looked into: exit code 2",
    "F18": "A prompt with a stray byte: exit code 2",
    "F19": "A model folder that may not be read: exit code 3",
    "F20": "A pipeline's index of deep nesting: exit code 3",
    "F21": "A loop of links, as picture, output or model: exit code 2 or 3",
    "F22": "A setting of a thousand brackets: exit code 2",
    "F23": "A repository without a network: one clear line within five seconds",
    "F24": "A benchmark in which a case failed: exit code 5",
    "F25": "A replay that differs: exit code 5",
    "F26": "A prompt of 10,000 words: not printed whole",
    "F27": "Escape characters in a prompt or a file's name: written out, so that no terminal obeys "
    "them",
    "F28": "Ctrl-C: said within a second, with exit code 130 and no half result",
    "F29": "A megabyte of YAML: read, or refused, in seconds",
    "F30": "Workers that die as they start: a place where they do is left out, and where all do "
    "the run ends with the reason",
    "F32": "A batch's folder of a stranger, whose rows lead to other files or that names a store, "
    "a picture or a model that the user did not: refused, and nothing is opened or moved",
}
"""By name: the rows of the design, and, with an F, what was found by trying."""

LACKING: set[str] = set()
"""Those that no test is named for yet; a name goes when its test comes."""


def proofs() -> dict[str, list[str]]:
    """For each name that a test is marked with, the tests, as file::function."""
    found: dict[str, list[str]] = {}
    for path in sorted(p for room in ROOMS for p in (TESTS.parent / room).glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                for name in _marks(node):
                    where = path.relative_to(TESTS.parent).as_posix()
                    found.setdefault(name, []).append(f"{where}::{node.name}")
    return found


def _marks(test: ast.FunctionDef) -> Iterator[str]:
    for each in test.decorator_list:
        if isinstance(each, ast.Call) and ast.unparse(each.func) == "pytest.mark.fault":
            yield from (ast.literal_eval(name) for name in each.args)


def page() -> str:
    """`docs/faults.md`."""
    found = proofs()
    lines = [
        "# Bad inputs and faults",
        "",
        "What must happen, and the tests that prove it. A typed error is a `CounterflowError` of",
        "one line that says what to do: no traceback reaches a user, the exit code is not 0, and",
        "nothing that was written is lost. Written by `python tests/faults.py`.",
        "",
        "| | Fault, and what must happen | Tests |",
        "|---|---|---|",
    ]
    for name, text in FAULTS.items():
        tests = "<br>".join(f"`{test}`" for test in found.get(name, ())) or "none yet"
        lines.append(f"| {name} | {text} | {tests} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
