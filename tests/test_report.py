"""Results on disk, their summary, and the page that is made of them."""

from __future__ import annotations

import json
import math
import re
import shutil
import xml.etree.ElementTree as ElementTree
from base64 import b64decode
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import results_folder
from counterflow.bench import plots
from counterflow.bench.figures import FIGURES
from counterflow.bench.page import Cell, Column, Page, Picture, Section, Verdict, pieces, shown
from counterflow.bench.report import report
from counterflow.bench.results import (
    Bench,
    read,
    summarise,
    write_bench,
    write_method,
    write_result,
)
from counterflow.bench.stats import Interval, mean_interval, paired_difference
from counterflow.bench.strips import worst_first
from counterflow.cli import main
from counterflow.errors import InputError
from counterflow.toybox.edits import CATEGORIES
from counterflow.toybox.render import render
from counterflow.toybox.scene import sample

SKILLED = ("ftedit", "naive")
VOID = {"meta", "img", "link", "br", "hr", "input"}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods on 60 cases of ten kinds, with pictures."""
    folder = tmp_path_factory.mktemp("results")
    results_folder.write(folder)
    return folder


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten cases without pictures."""
    folder = tmp_path_factory.mktemp("ten")
    results_folder.write(folder, 10, pictures=False)
    return folder


@pytest.fixture
def few(ten: Path, tmp_path: Path) -> Path:
    """A copy of the ten cases, for a test to spoil."""
    return Path(shutil.copytree(ten, tmp_path / "few"))


@pytest.fixture(scope="module")
def page(results: Path) -> str:
    return report(results, results / "page.html", 12).read_text("utf-8")


class Seen(HTMLParser):
    """What a page is made of; fails where an element is not closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name == "id":
                self.ids[str(value)] += 1
            if name in ("src", "href", "xlink:href", "action", "data"):
                self.links.append(str(value))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_what_is_written_is_read(tmp_path: Path, few: Path) -> None:
    bench = read(few)
    first = bench.methods[0]
    odd = replace(
        first.results[0],
        figures=first.results[0].figures | {"PSNR": math.inf, "success": None},
        target='a "cat" <b>&</b> 猫',
    )
    method = replace(first, results=(odd, *first.results[1:]))
    write_bench(tmp_path / "copy", bench)
    write_method(tmp_path / "copy", method)
    for result in method.results:
        write_result(tmp_path / "copy", method.name, result)
    assert read(tmp_path / "copy") == replace(bench, methods=(method,))
    assert '"PSNR": "inf"' in (tmp_path / "copy" / method.name / f"{odd.case}.json").read_text()


def test_a_category_may_be_a_number_of_pie_bench(few: Path) -> None:
    path = sorted((few / "firm").glob("5*.json"))[0]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"category": 5}))
    assert {r.category for r in read(few).methods[0].results} == set(CATEGORIES.values())


def test_the_summary_is_the_means_of_what_is_known(results: Path) -> None:
    bench = read(results)
    summary = summarise(bench)
    assert json.loads(json.dumps(summary)) == summary
    assert list(summary["methods"]) == ["firm", "ftedit", "naive"]
    for method in bench.methods:
        told = summary["methods"][method.name]
        assert list(told["categories"]) == list(CATEGORIES.values())
        for name, group in (told["categories"] | {None: told["all"]}).items():
            chosen = [r for r in method.results if name in (None, r.category)]
            assert group["cases"] == len(chosen) == (60 if name is None else 6)
            for figure in FIGURES:
                values = [r.figures[figure] for r in chosen]
                known = [v for v in values if v is not None and math.isfinite(v)]
                row = group["figures"][figure]
                assert row["mean"] == (pytest.approx(np.mean(known)) if known else None)
                assert (row["count"], row["n/a"]) == (len(known), values.count(None))
                assert row["exact"] == values.count(math.inf)
    assert summary["methods"]["naive"]["all"]["errors"] == 1
    assert summary["methods"]["ftedit"]["all"]["errors"] == 0


SPOILED: list[tuple[str, Any, str]] = [
    ("bench.json", "{", "cannot be read as JSON"),
    ("bench.json", [], "must hold a JSON object"),
    ("bench.json", {"profile": None}, "profile must be a text, not None"),
    ("bench.json", {"seed": "x"}, "seed must be a whole number"),
    ("bench.json", {"judge": {"kind": 1.2}}, "judge has an accuracy"),
    ("bench.json", {"notes": [1]}, "notes is a list of lines"),
    ("firm/method.json", {"name": "other"}, "the folder is 'firm'"),
    ("firm/method.json", {"edit": []}, "edit must be an object"),
    ("firm/CASE.json", {"case": "other"}, "case is 'other'"),
    ("firm/CASE.json", {"image": "../../secret.png"}, "or null"),
    ("firm/CASE.json", {"category": 10}, "none of 0 to 9"),
    ("firm/CASE.json", {"category": True}, "category must be a text or a whole number"),
    ("firm/CASE.json", {"figures": {"likes": 1}}, "unknown figure likes"),
    ("firm/CASE.json", {"figures": {"success": 1.5}}, "success is a number from 0 to 1"),
    ("firm/CASE.json", {"figures": {"success": True}}, "success is a number"),
    ("firm/CASE.json", {"figures": {"kept": "inf"}}, "kept is a number"),
    ("firm/CASE.json", {"figures": {"PSNR": math.nan}}, "PSNR is a number"),
    ("firm/CASE.json", {"figures": {"PSNR": math.inf}}, "PSNR is a number"),
]


@pytest.mark.parametrize(("name", "change", "message"), SPOILED)
def test_what_is_malformed_is_named(few: Path, name: str, change: Any, message: str) -> None:
    case = min(path.stem for path in (few / "firm").glob("[0-9]*.json"))
    path = few / name.replace("CASE", case)
    if isinstance(change, dict):
        change = json.loads(path.read_text()) | change
    path.write_text(change if isinstance(change, str) else json.dumps(change))
    with pytest.raises(InputError, match=re.escape(message)) as told:
        read(few)
    assert str(path) in str(told.value)


def test_a_missing_entry_is_named(few: Path) -> None:
    path = few / "firm" / "method.json"
    path.write_text('{"name": "firm"}')
    with pytest.raises(InputError, match="lacks title"):
        read(few)


def test_the_page_needs_nothing_else(page: str) -> None:
    seen = Seen(page)
    assert not seen.tags["script"] and not seen.tags["iframe"] and not seen.tags["link"]
    assert seen.tags["svg"] == 3 and seen.tags["img"] == 12 * 5 - 1  # one edit gave none
    pictures = [link for link in seen.links if link.startswith("data:image/")]
    assert len(pictures) == seen.tags["img"]
    inside = {link[1:] for link in seen.links if link.startswith("#")}
    assert len(inside) > 9 and inside <= set(seen.ids)
    assert all(link.startswith(("data:image/", "#")) for link in seen.links)
    assert not re.search(r"url\((?!#)|@import", page)
    assert set(seen.ids.values()) == {1}


def test_the_page_says_what_was_run(page: str) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page))
    for words in (
        *("60 of ToyPIE", "toybox@0123abcd", "corrected", "each of 3 methods"),
        *("Shown are the worst 12 of 60 cases", "LPIPS: its weights are not at hand."),
        *(results_folder.ERROR, "Not measured: LPIPS, CLIP whole, CLIP edited."),
        *("steps 30, iterations 3", "attention parts v", "Euler &amp; nothing", "A &lt;paper&gt;"),
    ):
        assert words in text, words
    assert "<paper>" not in page
    tables = re.findall(r"<table>.*?</table>.*?(?=<section|</main>)", page, re.S)
    judged = [table for table in tables if re.search(r'<th scope="col">success', table)]
    assert len(judged) == 5
    assert all("The judge&#39;s accuracy on held-out pictures: kind 1.000" in t for t in judged)


def test_the_tables_hold_the_figures(results: Path, page: str) -> None:
    """The first row is FTEdit's, and the next table compares the others with it."""
    ftedit, naive = (next(m for m in read(results).methods if m.name == k) for k in SKILLED)
    success = [[r.figures["success"] for r in m.results] for m in (ftedit, naive)]
    cells = [shown(mean_interval(success[0]), Column("success"))]
    cells.append(shown(paired_difference(success[1], success[0]), Column("success", signed=True)))
    assert re.search(r'<th scope="row">FTEdit</th>\s*<td>60</td>\s*<td>' + cells[0].main, page)
    assert cells[1].sure
    for cell in cells:
        end = "</b>" if cell.sure else ""
        assert f'{cell.main}{end} <span class="bounds">{cell.bounds}</span>' in page


def test_equal_results_give_an_equal_page(results: Path, page: str, tmp_path: Path) -> None:
    assert report(results, tmp_path / "again.html", 12).read_text("utf-8") == page


def test_the_worst_come_first(results: Path) -> None:
    bench = read(results)
    order = worst_first(bench)
    every = [result for method in bench.methods for result in method.results]
    by_case = {case: [r for r in every if r.case == case] for case in order}
    assert len(by_case) == len(order) == 60
    success = [np.mean([r.figures["success"] or 0.0 for r in by_case[case]]) for case in order]
    assert success == sorted(success) and success[0] == 0 and success[-1] == 1
    level = [case for case, share in zip(order, success, strict=True) if share == 1]
    kept = [np.mean([r.figures["kept"] for r in by_case[case]]) for case in level]
    assert kept == sorted(kept) and kept[0] < kept[-1]


def test_one_method_with_nothing_measured(few: Path) -> None:
    """A run that has only begun still has a page: no judge, no figures, no pictures."""
    for name in SKILLED:
        shutil.rmtree(few / name)
    bench = read(few)
    write_bench(few, replace(bench, judge=None, seed=None, profile="pie-compat", notes=()))
    for result in bench.methods[0].results:
        write_result(few, "firm", replace(result, figures={}, error=None))
    text = report(few).read_text("utf-8")
    Seen(text)
    assert "Against" not in text and "judge&#39;s" not in text and "no picture" in text
    assert "published evaluator" in text


def test_an_unfinished_run_says_so(few: Path) -> None:
    sorted((few / "naive").glob("[0-9]*.json"))[0].unlink()
    assert "the run is unfinished" in report(few).read_text("utf-8")


def test_a_damaged_picture_is_named(few: Path) -> None:
    case = worst_first(read(few))[0]
    (few / "sources").mkdir()
    (few / "sources" / f"{case}.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=f"{case}.png"):
        report(few)


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in args])
    out = capsys.readouterr()
    return int(stop.value.code or 0), out.out, out.err


def test_the_command(few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "report", few) == (0, f"{few / 'report.html'}\n", "")
    output = tmp_path / "new" / "page.html"
    code, out, _ = run(capsys, "report", few, "-o", output, "--pictures", 3, "--json")
    told = json.loads(out)
    assert code == 0 and told["page"] == str(output)
    assert told | {"page": ""} == summarise(read(few)) | {"page": ""}
    assert Seen(output.read_text("utf-8")).tags["article"] == 3


def test_the_command_refuses(few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    write_bench(tmp_path / "begun", Bench("pie", None, None, "corrected", "m", "0", None))
    for args, message in (
        ((tmp_path / "empty",), "holds no bench.json; give a folder"),
        ((tmp_path / "begun",), "holds no result yet; run the benchmark"),
        ((few, "-o", few / "bench.json"), "name the page .html"),
        ((few, "--pictures", -1), "pictures is 0 or more"),
        ((few, "-o", few / "bench.json" / "x.html"), "cannot be written"),
    ):
        code, out, err = run(capsys, "report", *args)
        assert (code, out) == (2, "") and message in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("cell", "column", "text"),
    [
        ("words", Column("a"), "words"),
        (None, Column("a"), "n/a"),
        (12345, Column("a"), "12\u2009345"),
        (0.856, Column("a"), "0.86"),
        (-0.856, Column("a", digits=1), "−0.9"),
        (math.inf, Column("a"), "∞"),
        (0.2, Column("a", signed=True), "+0.20"),
        (-0.001, Column("a"), "0.00"),
        (Interval(0.85, 0.8, 0.9, 50, 0), Column("a"), "0.85 [0.80, 0.90]"),
        (Interval(0.85, 0.8, 0.9, 50, 2, 3), Column("a"), "0.85 [0.80, 0.90] 2 n/a, 3 exact"),
        (Interval(1.0, 1.0, 1.0, 50, 0), Column("a"), "1.00"),
        (Interval(1.0, None, None, 1, 4), Column("a"), "1.00 4 n/a"),
        (Interval(None, None, None, 0, 5), Column("a"), "n/a"),
        (Interval(None, None, None, 0, 5, 2), Column("a"), "n/a 2 exact"),
    ],
)
def test_how_a_cell_reads(cell: Cell, column: Column, text: str) -> None:
    it = shown(cell, column)
    assert " ".join(filter(None, (it.main, it.bounds, it.note))) == text


def test_only_a_sure_difference_is_bold() -> None:
    sure, unsure = Interval(0.2, 0.1, 0.3, 9, 0), Interval(0.2, -0.1, 0.3, 9, 0)
    signed = Column("a", signed=True)
    assert shown(sure, signed).sure
    assert not shown(unsure, signed).sure and not shown(sure, Column("a")).sure


@given(st.text("ab ", max_size=12), st.lists(st.tuples(*[st.integers(0, 13)] * 2), max_size=3))
def test_pieces_are_the_sentence(text: str, spans: list[tuple[int, int]]) -> None:
    made = pieces(text, spans)
    assert "".join(words for words, _ in made) == text
    assert all(a[1] != b[1] for a, b in pairwise(made))
    letters = [mark for words, mark in made for _ in words]
    for i, letter in enumerate(text):
        if letter != " ":
            assert letters[i] == any(start <= i < stop for start, stop in spans)


def test_neighbouring_marks_are_one() -> None:
    made = pieces("in a red hat", [(3, 4), (5, 8)])
    assert made == [("in ", False), ("a red", True), (" hat", False)]


@pytest.mark.parametrize(
    ("holds", "badge"), [(True, "✓ holds"), (False, "✗ does not hold"), (None, "? undecided")]
)
def test_a_verdict_is_a_badge(holds: bool | None, badge: str) -> None:
    verdict = Verdict("Cats < dogs", holds, "They are.")
    text = Page("A page", "Words.", [Section("One", verdict=verdict)]).html()
    assert [found.strip() for found in re.findall(r'class="badge">([^<]+)<', text)] == [badge]
    assert "Cats &lt; dogs" in text


@pytest.mark.parametrize("side", [64, 128, 600])
def test_a_picture_travels_inside_the_page(side: int) -> None:
    image = render(sample(3), side)
    picture = Picture(image, "one")
    decoded = Image.open(BytesIO(b64decode(picture.uri.partition(",")[2])))
    assert picture.size == (256, 256) and decoded.size == (min(side, 256),) * 2
    difference = np.asarray(decoded, float) - np.asarray(image.resize(decoded.size), float)
    assert np.abs(difference).mean() < 4


def test_plots_are_sound_svg_whatever_the_names() -> None:
    known, none = Interval(0.5, 0.4, 0.7, 9, 0), Interval(None, None, None, 0, 9)
    one = Interval(0.5, None, None, 1, 0)
    odd = ("$x_", "<b>&", "猫", "a\nb")
    values = [known, none, one, known]
    points = [plots.Point(name, known, value) for name, value in zip(odd, values, strict=True)]
    with pytest.warns(UserWarning, match="Glyph"):  # the plots' font has no Chinese
        drawn = [
            plots.scatter(points, "x", "<y>"),
            plots.bars(odd, [(name, values) for name in odd], "share", 1.0),
            plots.rows(odd, values, "forwards"),
        ]
    for text in drawn:
        assert "nan" not in text.lower() and plots.INK not in text
        root = ElementTree.fromstring(text)
        assert root.tag.endswith("svg") and "currentColor" in text
        assert not {"Date", "metadata"} & {e.tag.rpartition("}")[2] for e in root.iter()}


def test_an_interval_is_drawn_where_it_lies() -> None:
    """The longer interval makes the longer line."""
    short, long = Interval(0.5, 0.49, 0.51, 9, 0), Interval(0.5, 0.1, 0.9, 9, 0)

    def tallest(interval: Interval) -> float:
        text = plots.bars(["a"], [("one", [interval])], "share", 1.0)
        group = text[text.index("LineCollection") :]
        ends = re.search(r'd="M [\d.]+ ([\d.]+) ?\n?L [\d.]+ ([\d.]+)', group)
        assert ends is not None
        return abs(float(ends[1]) - float(ends[2]))

    assert tallest(long) > 20 * tallest(short) > 0
