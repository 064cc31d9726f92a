"""Fuzzes the readers of `targets.py`, guided by the code that they reach (atheris, libFuzzer).

    python fuzz/run.py --seconds 60                # all in turn, and a table of what was found
    python fuzz/run.py --seconds 600 yaml masks    # these

A crash, a hang of 20 seconds and 2 GiB of memory are faults: the input is kept in `out/fuzz/NAME/`,
and the command exits with 1. What reached new code stays there, too, and is where the next run
begins.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).parents[1] / "out" / "fuzz"
HANG, MEMORY, LONGEST = 20, 2048, 1 << 16
"""Seconds, MiB, and bytes of an input."""
INSTRUMENTED = ["counterflow", "targets", "yaml", "json"]


def fuzz(name: str, rest: list[str]) -> None:
    """Fuzz one reader in this process; libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        from targets import TARGETS
    target = TARGETS[name]
    corpus, words = HOME / name / "corpus", HOME / name / "words.dict"
    corpus.mkdir(parents=True, exist_ok=True)
    for n, example in enumerate(target.examples()):
        (corpus / f"example-{n}").write_bytes(example)
    words.write_text(dictionary(target.examples()))
    options = [f"-dict={words}", f"-artifact_prefix={HOME / name}/", f"-max_len={LONGEST}"]
    limits = [f"-timeout={HANG}", f"-rss_limit_mb={MEMORY}"]
    atheris.Setup([sys.argv[0], *options, *limits, *rest, str(corpus)], target)
    atheris.Fuzz()


def dictionary(examples: list[bytes]) -> str:
    """The words of the examples, and what JSON and YAML are made of, as libFuzzer reads them."""
    found = {word for each in examples for word in re.findall(rb"\"?[A-Za-z_]\w{1,20}\"?", each)}
    found |= {b"null", b"true", b"1e999", b"-1", b"[[[[", b'{"', b"\\ud800", b"NaN", b"!!", b"&a"}
    lines = ("".join(f"\\x{byte:02x}" for byte in word) for word in sorted(found)[:500])
    return "".join(f'"{line}"\n' for line in lines)


def row(name: str, seconds: int) -> dict[str, object]:
    """Fuzz one reader in a process of its own; what libFuzzer says of it."""
    command = [sys.executable, __file__, "--only", name, f"-max_total_time={seconds}"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    said = done.stderr
    runs = re.findall(r"^#(\d+)\s", said, re.MULTILINE)
    reached = re.findall(r"cov: (\d+) ft: (\d+)", said)
    if done.returncode and not re.search(r"ERROR: libFuzzer|Uncaught Python exception", said):
        sys.exit(f"{name} could not be fuzzed:\n{said[-2000:]}")
    edges, features = map(int, reached[-1]) if reached else (0, 0)
    (HOME / name / "log.txt").write_text(said)
    crash = re.search(r"Uncaught Python exception.*?\n(.*)|ERROR: libFuzzer: (.*)", said)
    found = "" if crash is None else (crash[1] or crash[2]).strip()[:120]
    return {
        "target": name, "executions": int(runs[-1]) if runs else 0, "edges": edges,
        "features": features, "crash": found,
    }  # fmt: skip


def main() -> None:
    """Fuzz all readers in turn, or those that are named, and print a table."""
    if sys.argv[1:2] == ["--only"]:
        fuzz(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each reader")
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    from targets import TARGETS

    if unknown := set(given.names) - set(TARGETS):
        sys.exit(f"no reader {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    rows = []
    print(f"{'target':18} {'executions':>10} {'edges':>6} {'features':>8}  crash")
    for name in given.names or TARGETS:
        rows.append(found := row(name, given.seconds))
        print("{target:18} {executions:10} {edges:6} {features:8}  {crash}".format(**found))
        sys.stdout.flush()
    (HOME / "found.json").write_text(json.dumps(rows, indent=1) + "\n")
    sys.exit(any(each["crash"] for each in rows))


if __name__ == "__main__":
    main()
