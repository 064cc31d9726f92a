"""The documents are kept true: their code runs, and what is generated is up to date."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from counterflow.backbones import opening
from counterflow.edit.editor import Editor
from counterflow.methods import registry
from counterflow.methods.registry import Entry
from counterflow.toybox.captions import caption
from counterflow.toybox.render import render
from counterflow.toybox.scene import sample
from doc_pages import (
    DOCS,
    PAGES,
    ROOT,
    anchors,
    blocks,
    commands,
    links,
    run_python,
    run_shell,
    spoken,
    unknown,
)
from tools import SCENE, SOURCE, TARGETS, distance

OWN = {"docs/adding-a-method.md", "docs/adding-a-model.md", "docs/diffusers.md"}
"""Pages whose blocks are parts of one program, which tests of their own put together."""
REASONS = {
    "needs a download",
    "needs a GPU",
    "runs until it is stopped",
    "sets up an environment",
    "takes hours",
}
RUN = [
    page for page in PAGES if page not in OWN and any(b.runs for b in blocks(page, "sh", "python"))
]
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))


def code_of(page: str, language: str = "python") -> list[str]:
    return [block.code for block in blocks(page, language)]


@pytest.fixture(scope="session")
def toybox() -> Any:
    """The bundled model, loaded once for all pages."""
    return opening.load_backbone("toybox")


@pytest.fixture
def loaded(toybox: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundled model is not loaded again; any other is."""
    load = opening.load_backbone

    def once(model: Any = "toybox", *given: Any, **options: Any) -> Any:
        plain = not given and not options and getattr(model, "model", model) == "toybox"
        return toybox if plain else load(model, *given, **options)

    monkeypatch.setattr(opening, "load_backbone", once)


@pytest.mark.parametrize("page", RUN)
def test_what_a_page_shows_works(
    page: str,
    loaded: None,
    run: Any,
    model: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Block by block in one folder, with less to do where a command would take long."""
    monkeypatch.chdir(folder)
    (folder / "docs").symlink_to(DOCS)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page, "sh", "python"):
        if block.runs and block.language == "sh":
            run_shell(block, folder, run, model)
        elif block.runs:
            run_python(block, names)


def test_what_is_not_run_says_why() -> None:
    """By one of a few reasons, and in few blocks."""
    left = [block for page in PAGES for block in blocks(page, "sh", "python") if not block.runs]
    for block in left:
        assert block.mark.removeprefix("not-run: ") in REASONS, f"{block}: {block.mark}"
    assert len(left) <= 12
    assert all(b.mark == "" for page in PAGES for b in blocks(page, "sh", "python") if b.runs)


def test_commands_in_pages_are_the_programs() -> None:
    """Names, options and methods, in blocks that run or not and in sentences."""
    wrong = [
        f"{page}: {' '.join(words)}: {each}"
        for page in PAGES
        for words in spoken(page)
        for each in unknown(words)
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("counterflow edit a.png --no-such 1", ["--no-such"]),
        ("counterflow bench cost --limit 3", ["--limit"]),
        ("counterflow bench --method no-such -o out", ["no-such"]),
        ("counterflow nowhere", ["nowhere"]),
        ("counterflow batch edits.jsonl --engine ray -o out", []),
    ],
)
def test_a_wrong_command_is_seen(command: str, wrong: list[str]) -> None:
    (words,) = commands(command)
    assert unknown(words) == wrong


def test_links_lead_somewhere() -> None:
    """To files that are there, and headings that they have."""
    for page in PAGES:
        for link in map(unquote, links(page)):
            where, _, heading = link.partition("#")
            path = ((ROOT / page).parent / where).resolve() if where else ROOT / page
            assert path.exists() and ROOT in path.parents, f"{page} links to {link}"
            if heading:
                there = anchors(str(path.relative_to(ROOT)))
                assert heading in there, f"{page} links to {link}"


def test_every_page_is_in_the_index() -> None:
    """By name or pattern, once: as a Sphinx build wants it."""
    shown: Counter[str] = Counter()
    for page in ("docs/index.md", "docs/decisions/README.md"):
        for block in blocks(page, "{toctree}"):
            for line in block.code.split():
                found = (ROOT / page).parent.glob(f"{line}.md")
                shown.update(str(path.relative_to(ROOT)) for path in found)
    assert set(shown) == {*PAGES} - {"README.md", "docs/index.md"}
    assert set(shown.values()) == {1}


def test_the_spelling_is_right() -> None:
    """codespell, by the settings in pyproject.toml."""
    found = subprocess.run(
        [sys.executable, "-m", "codespell_lib"], cwd=ROOT, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout


def test_the_page_of_commands_is_what_the_program_says() -> None:
    spec = importlib.util.spec_from_file_location("commands_page", DOCS / "commands.py")
    assert spec is not None and spec.loader is not None
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    assert writer.page() == writer.PAGE.read_text("utf-8"), "python docs/commands.py"


def test_the_choice_of_a_method_rests_on_the_results() -> None:
    """The figures in the table are those of the results, in a row of the method's."""
    results = (DOCS / "results.md").read_text("utf-8").splitlines()
    chosen = (DOCS / "choosing.md").read_text("utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in chosen if line.startswith("| ")]
    rows = [row for row in rows if len(row) == 5 and row[1].startswith("`")]
    assert len(rows) >= 8
    for _, name, success, psnr, forwards in rows:
        there = [line for line in results if line.startswith(f"| {name} ") and "| 400 |" in line]
        assert any(
            f"| {success} [" in line and f"| {psnr} [" in line and line.endswith(f"| {forwards} |")
            for line in there
        ), name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    """With few steps and cases; no outputs are committed."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    few = {"STEPS = 10": "STEPS = 2", "CASES = 20": "CASES = 1"}
    assert any(line in cell.source for line in few for cell in code)
    for cell in code:
        for line, less in few.items():
            cell.source = cell.source.replace(line, less)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}}).execute()
    assert any(output.output_type != "stream" for cell in code for output in cell.outputs)


def test_the_tutorial_s_text_control_shows(toybox: Any) -> None:
    """Free, the drawing gets the black outlines of ink; held, it keeps most of its own."""
    one, scene, black = Editor(toybox), sample(12), []
    inversion = one.invert(render(scene), caption(scene), "ftedit", steps=10, iterations=1)
    for ratio in (0.0, 1.0):
        made = one.edit(inversion, f"{caption(scene)}, ink drawing", text_ratio=ratio)
        black.append((np.asarray(made.image).max(-1) < 60).mean())
    assert black[0] > 2 * black[1]


def test_the_method_of_the_guide_works(one: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    code, outside, line = code_of("docs/adding-a-method.md")
    lines = [each for each in code[code.index("@dataclass") :].splitlines() if each.strip()]
    assert len(lines) <= 12, "it is called small"
    module: dict[str, object] = {}
    exec(f"{code}\n{outside}", module)
    entry = eval(f"{{{line.strip()}}}", {"Entry": Entry})["renoise"]
    monkeypatch.setattr(Entry, "load", lambda self: module["Renoise"])
    monkeypatch.setitem(registry.METHODS, "renoise", entry)

    texts = {"strength": "0.5", "steps": "6"}
    method = registry.variant("renoise", texts).method
    inversion = one.invert(render(SCENE), SOURCE, method)
    assert inversion.trajectory is None and inversion.forwards == 0
    made = one.edit(inversion, TARGETS[0])
    assert made.forwards == 3 * 2

    mask = np.zeros(inversion.picture.size[::-1], bool)
    mask[:32] = True
    masked = one.edit(inversion, TARGETS[0], mask=mask, exact_background=True)
    assert (np.asarray(masked.image)[32:] == np.asarray(inversion.picture)[32:]).all()


def test_a_method_without_an_outside_takes_no_mask(one: Editor) -> None:
    (code, _, _) = code_of("docs/adding-a-method.md")
    module: dict[str, object] = {}
    exec(code, module)
    method = module["Renoise"](steps=4)  # type: ignore[operator]
    inversion = one.invert(render(SCENE), SOURCE, method)
    with pytest.raises(registry.InputError, match="renoise takes no mask"):
        one.edit(inversion, TARGETS[0], mask=np.ones(inversion.picture.size[::-1], bool))


def test_the_page_of_methods_is_what_the_program_says(run: object) -> None:
    code, out, _ = run("methods", "--markdown")  # type: ignore[operator]
    assert code == 0
    assert out == (DOCS / "methods.md").read_text("utf-8"), "counterflow methods --markdown"


def test_the_adapter_of_the_guide_works(tiny: Any) -> None:
    """It draws what the pipeline draws, and edits under the paper's control."""
    (code,) = code_of("docs/adding-a-model.md")
    made: dict[str, Any] = {}
    exec(code, made)
    editor = Editor(made["Plain"](tiny.pipeline))
    ours, theirs = (
        each.generate(SOURCE, steps=3, guidance=2.5, size=(64, 48))[1][-1]
        for each in (editor, Editor(tiny))
    )
    assert distance(ours, theirs) <= 1e-6
    editor.backbone.area = 64 * 64
    inversion = editor.invert(render(SCENE), SOURCE, "ftedit", steps=2, iterations=1)
    assert editor.reconstruct(inversion).latent_error <= 1e-5
    assert distance(editor.edit(inversion, TARGETS[0]).latent, inversion.image) > 1e-3
