"""The page that is made of a results folder."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import results_folder
from counterflow.bench.report import plots
from counterflow.bench.report.build import report
from counterflow.bench.report.front import best, front, same_cases
from counterflow.bench.report.page import Column, cell_text
from counterflow.bench.report.sheet import draw_sheet
from counterflow.bench.report.strips import worst_first
from counterflow.bench.report.summary import average, summarise
from counterflow.bench.results import Bench, Result, read, write_bench, write_method, write_result
from counterflow.bench.stats import Interval, mean_interval, paired_difference
from counterflow.cli import main
from counterflow.errors import InputError

SKILLED = ("ftedit", "naive")
VOID = {"meta", "img", "link", "br", "hr", "input"}


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


def test_the_page_needs_nothing_else(page: str) -> None:
    seen = Seen(page)
    assert not seen.tags["script"] and not seen.tags["iframe"] and not seen.tags["link"]
    assert seen.tags["svg"] == 4
    assert seen.tags["img"] == 2 * (12 * 5 - 1)  # one edit gave none, in both rows of pictures
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
    against = page[page.rindex(", picture by picture") :]  # its differences are means
    assert "distance (median)" in page and "distance" in against
    assert "(median)" not in against[: against.index("</table>")]
    tables = re.findall(r"<table>.*?</table>.*?(?=<section|</main>)", page, re.S)
    judged = [table for table in tables if re.search(r'<th scope="col">success', table)]
    assert len(judged) == 5
    assert all("The judge&#39;s accuracy on held-out pictures: kind 1.000" in t for t in judged)


def test_the_tables_hold_the_figures(results: Path, page: str) -> None:
    """The first row is FTEdit's, and the next table compares the others with it."""
    ftedit, naive = (next(m for m in read(results).methods if m.name == k) for k in SKILLED)
    success = [[r.figures["success"] for r in m.results] for m in (ftedit, naive)]
    cells = [cell_text(mean_interval(success[0]), Column("success"))]
    cells.append(
        cell_text(paired_difference(success[1], success[0]), Column("success", signed=True))
    )
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


def test_reconstructions_have_a_section_of_their_own(few: Path) -> None:
    """They are in no table of edits and no strip of pictures; alone they make a page too."""
    alone = few.parent / "alone"
    bench = read(few)
    firm = bench.methods[0]
    again = replace(firm, name="again", title="Rebuilt", compensated=True, results=())
    write_bench(alone, replace(bench, methods=()))
    for folder in (few, alone):
        write_method(folder, again)
        for n, old in enumerate(firm.results):
            figures = {"latent": 0.25, "reconstruction PSNR": 30.0 + n, "forwards": 60.0}
            texts = (old.case, old.category, old.source, old.target)
            write_result(folder, "again", Result(*texts, None, figures))
    before = len(re.findall("Rebuilt", report(few).read_text("utf-8")))
    text = report(few).read_text("utf-8")
    assert before == 1 and "Reconstructions" in text and ">0.250<" in text
    assert "each of 3 methods" in text and "unfinished" not in text
    text = report(alone).read_text("utf-8")
    Seen(text)
    assert "Reconstructions" in text and "All edits" not in text and "34.5" in text


def test_masks_that_methods_find_have_a_section(few: Path) -> None:
    """A row for those that find one, over what is measured; none without."""
    assert "Masks" not in report(few).read_text("utf-8")
    bench = read(few)
    firm = next(m for m in bench.methods if m.name == "firm")
    shares = [None, *(0.1 * n for n in range(1, len(firm.results)))]
    for result, share in zip(firm.results, shares, strict=True):
        write_result(few, "firm", replace(result, figures=result.figures | {"mask IoU": share}))
    text = report(few).read_text("utf-8")
    Seen(text)
    section = text[text.index("<h2>Masks") :].partition("<section")[0]
    assert "laid over the true region" in section and "mask IoU" in section
    cell = cell_text(mean_interval(shares), Column.of("mask IoU"))
    rows = re.findall(r'<th scope="row">([^<]+)</th>\s*<td>10</td>\s*<td>(.*?)</td>', section, re.S)
    assert [title for title, _ in rows] == [firm.title]
    assert cell.main in rows[0][1] and str(cell.bounds) in rows[0][1]


def test_chances_that_were_told_have_a_section(few: Path) -> None:
    """How true they were, by hand: 0.9 told of the edits that succeeded, 0.4 of the others."""
    assert "to be trusted" not in report(few).read_text("utf-8")
    firm = next(m for m in read(few).methods if m.name == "firm")
    won = sum(result.figure("success") or 0 for result in firm.results) / len(firm.results)
    assert 0 < won < 1
    for result in firm.results:
        chance = 0.9 if result.figure("success") else 0.4
        write_result(few, "firm", replace(result, figures=result.figures | {"chance": chance}))
    text = report(few).read_text("utf-8")
    Seen(text)
    section = text[text.index("<h2>How far results") :].partition("<section")[0]
    cells = re.findall(r"<td>\s*(\d\.\d\d)\s*</td>", section)
    told, error = 0.9 * won + 0.4 * (1 - won), 0.1 * won + 0.4 * (1 - won)
    assert cells == [f"{each:.2f}" for each in (told, won, error, 1)]


def test_an_uneven_run_is_not_unfinished(few: Path) -> None:
    """Experiments give methods different cases."""
    bench = read(few)
    sorted((few / "naive").glob("[0-9]*.json"))[0].unlink()
    write_bench(few, replace(bench, uneven=True, methods=()))
    text = report(few).read_text("utf-8")
    assert "unfinished" not in text and "Not every method has edited every case" in text


def test_a_sheet_of_the_pictures(results: Path, few: Path) -> None:
    """Two cases a row with one method, one with several; what has no picture is left blank."""
    bench = read(results)
    cases = [result.case for result in bench.methods[0].results][:4]
    one = draw_sheet(results, bench.methods[:1], cases, 60)
    many = draw_sheet(results, bench.methods, cases, 60)
    assert one.width == 12 + 6 * 72 and many.width == 12 + 5 * 72
    assert many.height > 1.8 * one.height
    broken = [result.case for result in bench.methods[2].results if result.error]
    assert draw_sheet(results, bench.methods, broken, 60).width == many.width
    with pytest.raises(InputError, match="no pictures"):
        draw_sheet(few, read(few).methods, cases)


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
    assert Seen(output.read_text("utf-8")).tags["article"] == 2 * 3


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


def test_the_front_holds_what_no_other_method_beats_for_as_little(results: Path) -> None:
    """By definition, over made-up costs; a figure in which lower is better too."""
    bench = read(results)
    priced = [
        replace(m, name=f"{m.name}{cost}", results=tuple(costing(r, cost) for r in m.results))
        for m, cost in zip((*bench.methods, bench.methods[0]), (30, 10, 20, 40), strict=True)
    ]
    for name, sign in (("success", 1), ("PSNR", 1), ("distance", -1)):
        worth = {m.name: sign * (average(m.results, name).estimate or 0) for m in priced}
        cost = {m.name: average(m.results, "forwards").estimate or 0 for m in priced}
        expected = {
            a
            for a in worth
            if not any(
                worth[b] >= worth[a]
                and cost[b] <= cost[a]
                and (worth[b], -cost[b]) != (worth[a], -cost[a])
                for b in worth
            )
        }
        assert set(best(priced, name)) == expected
    (section,) = front(replace(bench, methods=tuple(priced)))
    assert section.plot and section.plot.count("<g id") > 10 and section.table is not None
    assert front(replace(bench, methods=bench.methods[:1])) == []
    idle = replace(priced[0], name="idle1", results=tuple(failing(r) for r in priced[0].results))
    (with_idle,) = front(replace(bench, methods=(*priced, idle)))
    assert with_idle.table == section.table
    kinds = [
        next(r.category for r in priced[0].results if r.case == c) for c in same_cases(bench, 20)
    ]
    assert len(kinds) == 20 and set(map(kinds.count, kinds)) == {2}


def test_a_method_at_several_settings_is_a_line_with_one_name() -> None:
    costs = (("ours", 5, True), ("ours", 9, True), ("other", 10, False), ("other", 20, False))
    value = Interval(0.5, 0.4, 0.6, 40, 0)
    drawn = plots.fronts([("success", [plots.Priced(n, c, value, best) for n, c, best in costs])])
    assert drawn.count("<!-- ours -->") == 2  # every point of the front is named
    assert drawn.count("<!-- other -->") == 1


def failing(result: Any) -> Any:
    """Edits nothing for one forward."""
    return replace(result, figures=result.figures | {"forwards": 1.0, "success": 0.0, "PSNR": 90.0})


def costing(result: Any, cost: float) -> Any:
    return replace(result, figures=result.figures | {"forwards": float(cost)})


def test_the_tables_as_markdown(
    results: Path, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every row has the header's cells; the figures are the summary's; the plot is one SVG."""
    plot = tmp_path / "front.svg"
    code, out, _ = run(capsys, "report", results, "--markdown", "--plot", plot)
    whole, by_kind = (text.splitlines() for text in out.strip().split("\n\n"))
    for lines in (whole, by_kind):
        assert {line.count("|") for line in lines} == {lines[0].count("|")}
    told = summarise(read(results))["methods"]
    assert len(whole) == len(by_kind) == 2 + len(told)
    for name, method in told.items():
        figure = method["all"]["figures"]["success"]["mean"]
        (row,) = (line for line in whole if f"| `{name.partition(',')[0]}` " in line)
        assert f" {figure:.3f} " in row and f"| {method['all']['cases']} |" in row
        (row,) = (line for line in by_kind if f"| `{name.partition(',')[0]}` " in line)
        kinds = [each["figures"]["success"]["mean"] for each in method["categories"].values()]
        assert row.split(" | ")[1:] == [f"{k:.2f}" for k in kinds[:-1]] + [f"{kinds[-1]:.2f} |"]
    assert code == 0
    root = ElementTree.fromstring(plot.read_text("utf-8"))
    assert root.tag.endswith("svg") and root[0].tag.endswith("rect")
    for args in (("--markdown", "--json"), ("--plot", tmp_path / "no.svg")):
        assert run(capsys, "report", tmp_path / "no", *args)[0] == 2
