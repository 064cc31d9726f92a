"""PIE-Bench's format: masks round trip, oddities are read, malformed items are refused by name."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from counterflow.bench.sets.pie import check_profile, decode_mask, encode_mask, fitted, plain, read
from counterflow.errors import InputError
from counterflow.metrics import psnr

quick = settings(max_examples=50, deadline=None)


@quick
@given(st.integers(1, 12).flatmap(lambda n: arrays(bool, (n, n))))
def test_masks_round_trip(mask: np.ndarray) -> None:
    """Decoding undoes encoding; runs neither touch nor overlap."""
    runs = encode_mask(mask)
    assert np.array_equal(decode_mask(runs, len(mask), border=False), mask)
    starts, lengths = np.array(runs[::2]), np.array(runs[1::2])
    assert (lengths > 0).all() and (starts[1:] > (starts + lengths)[:-1]).all()


def test_the_published_border() -> None:
    """An empty mask decodes to its border, as the published decoder has it."""
    mask = decode_mask([], 5)
    assert mask.sum() == 16 and not mask[1:-1, 1:-1].any()
    assert decode_mask([0, 25], 5).all()


@pytest.mark.fault("14")
@pytest.mark.parametrize(
    ("runs", "word"),
    [
        ([1], "odd"),
        ("0 1", "list"),
        ([0, 26], "index 0"),
        ([0, 1, -1, 2], "index 2"),
        ([0, -1], "index 0"),
        ([0, 1.5], "index 0"),
        ([True, 1], "index 0"),
        ([10**30, 1], "index 0"),
        ([0, 0] * 300_000, "at most"),
        ([0, "1"], "index 0"),
    ],
)
def test_malformed_masks(runs: Any, word: str) -> None:
    with pytest.raises(InputError, match=word):
        decode_mask(runs, 5)


ITEM = {
    "image_path": "0_random/a.jpg",
    "original_prompt": "a [cat] on grass",
    "editing_prompt": "a [dog] on [[grass]]",
    "editing_instruction": "cat to dog",
    "editing_type_id": "1",
    "blended_word": "cat dog",
    "mask": [0, 512],
}


def write(folder: Path, **items: Any) -> Path:
    (folder / "mapping_file.json").write_text(json.dumps(items))
    return folder


def test_reads_the_format(tmp_path: Path) -> None:
    """Brackets go, ids stay strings, the blended word may be empty, the mask has its border."""
    items = {"000000000001": ITEM, "000000000002": ITEM | {"blended_word": "", "mask": []}}
    one, two = read(write(tmp_path, **items))
    assert (one.id, one.source, one.target) == ("000000000001", "a cat on grass", "a dog on grass")
    assert (one.category, one.blended, two.blended) == (1, ("cat", "dog"), None)
    assert one.image == (tmp_path / "annotation_images/0_random/a.jpg").resolve()
    assert one.mask.shape == (512, 512) and one.mask[0].all() and two.mask.sum() == 4 * 511


@pytest.mark.fault("18")
@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"mask": [1]}, "odd"),
        ({"image_path": "../../etc/passwd"}, "leaves the folder"),
        ({"image_path": "/etc/passwd"}, "leaves the folder"),
        ({"editing_type_id": "10"}, "editing_type_id"),
        ({"editing_type_id": "x"}, "item n"),
    ],
)
def test_malformed_items(change: dict[str, Any], word: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=word) as refused:
        read(write(tmp_path, n=ITEM | change))
    assert "item n" in str(refused.value)


@pytest.mark.fault("18")
def test_links_out_of_the_folder(tmp_path: Path) -> None:
    images = tmp_path / "annotation_images"
    images.mkdir()
    (images / "out").symlink_to(tmp_path)
    with pytest.raises(InputError, match="leaves the folder"):
        read(write(tmp_path, n=ITEM | {"image_path": "out/a.jpg"}))


def test_what_is_no_benchmark(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mapping_file\.json"):
        read(tmp_path)
    (tmp_path / "mapping_file.json").write_text("[")
    with pytest.raises(InputError, match="not JSON"):
        read(tmp_path)
    (tmp_path / "mapping_file.json").write_text("[]")
    with pytest.raises(InputError, match="dict"):
        read(tmp_path)
    with pytest.raises(InputError, match="item n: lacks image_path"):
        read(write(tmp_path, n={}))


def published(runs: list[int], side: int, border: bool = True) -> np.ndarray:
    """What the published decoder makes of a list: pixel by pixel, as it is specified."""
    grid = [[0] * side for _ in range(side)]
    for place in range(0, len(runs), 2):
        for step in range(runs[place + 1]):
            pixel = runs[place] + step
            if pixel >= side * side:
                break
            grid[pixel // side][pixel % side] = 1
    for i in range(side if border else 0):
        grid[0][i] = grid[side - 1][i] = grid[i][0] = grid[i][side - 1] = 1
    return np.array(grid) == 1


side_and_runs = st.integers(1, 9).flatmap(
    lambda side: st.tuples(
        st.just(side),
        st.lists(
            st.tuples(st.integers(0, side * side + 5), st.integers(0, side * side + 5)), max_size=6
        ),
    )
)


@quick
@given(side_and_runs)
def test_masks_as_the_published_decoder_reads_them(case: tuple[int, list[tuple[int, int]]]) -> None:
    """Runs may touch, overlap, pass the end and begin behind it; encoding gives an equal list."""
    side, pairs = case
    runs = [number for pair in pairs for number in pair]
    mask = decode_mask(runs, side, border=True, clip=True)
    assert np.array_equal(mask, published(runs, side))
    assert np.array_equal(decode_mask(encode_mask(mask), side, border=False), mask)


@quick
@given(side_and_runs)
def test_masks_without_the_flaws(case: tuple[int, list[tuple[int, int]]]) -> None:
    """Corrected, a list that fits means what it says, and another is refused at its first run."""
    side, pairs = case
    runs = [number for pair in pairs for number in pair]
    wrong = [2 * i for i, (start, length) in enumerate(pairs) if start + length > side * side]
    if wrong:
        with pytest.raises(InputError, match=f"index {wrong[0]},"):
            decode_mask(runs, side, border=False)
    else:
        assert np.array_equal(
            decode_mask(runs, side, border=False), published(runs, side, border=False)
        )


@quick
@given(arrays(bool, (5, 7)), st.integers(1, 20), st.integers(1, 20))
def test_fitted_masks_take_the_nearest_pixel(mask: np.ndarray, width: int, height: int) -> None:
    """No pixel's centre is nearer to a new pixel's than that of the one it takes its value from."""

    def nearest(new: int, old: int, at: int) -> set[int]:
        far = [abs(Fraction(2 * at + 1, new) - Fraction(2 * i + 1, old)) for i in range(old)]
        return {i for i, distance in enumerate(far) if distance == min(far)}

    made = fitted(mask, (width, height))
    assert made.shape == (height, width)
    for y in range(height):
        for x in range(width):
            rows, columns = nearest(height, 5, y), nearest(width, 7, x)
            assert made[y, x] in {bool(mask[row, column]) for row in rows for column in columns}
    assert np.array_equal(fitted(mask, (7, 5)), mask)


FULL = [0, 512 * 512]
ALL_BUT_THE_BORDER = [n for row in range(1, 511) for n in (row * 512 + 1, 510)]
ODD: dict[str, dict[str, Any]] = {
    "000000000000": {"mask": FULL},
    "000000000001": {"mask": ALL_BUT_THE_BORDER, "blended_word": ""},
    "000000000002": {"mask": [], "blended_word": "an old cat dog", "editing_type_id": 2},
    "000000000003": {"mask": [0, 700, 300, 900, 4000, 0], "blended_word": "cat"},
    "100000000004": {
        "mask": [1030, 10],
        "original_prompt": "a [ ] cat [ with a [red] hat]",
        "editing_prompt": "[a]  dog ]",
        "blended_word": None,
        "editing_instruction": None,
    },
}
"""Every oddity of the format, as changes to an item."""

PAST_THE_END = {"mask": [1030, 10, 512 * 512 - 3, 40, 512 * 512 + 9, 7]}


def test_a_folder_with_every_oddity(tmp_path: Path) -> None:
    """As the published evaluator reads it; corrected, as the annotations say."""
    items = {name: ITEM | change for name, change in ODD.items()}
    compat = read(write(tmp_path, **items, past=ITEM | PAST_THE_END), "pie-compat")
    assert [case.id for case in compat] == [*items, "past"]
    for case, item in zip(compat, [*items.values(), ITEM | PAST_THE_END], strict=True):
        assert np.array_equal(case.mask, published(item["mask"], 512))
        for prompt, key in ((case.source, "original_prompt"), (case.target, "editing_prompt")):
            assert prompt == "".join(letter for letter in item[key] if letter not in "[]")
    assert compat[4].source == "a   cat  with a red hat" and compat[4].target == "a  dog "
    words = [case.blended for case in compat]
    assert words == [("cat", "dog"), None, None, None, None, ("cat", "dog")]
    assert (compat[2].category, compat[4].instruction) == (2, "")

    corrected = read(write(tmp_path, **items), "corrected")
    for case, item in zip(corrected, items.values(), strict=True):
        assert np.array_equal(case.mask, published(item["mask"], 512, border=False))
    assert corrected[4].source == "a cat with a red hat" and corrected[4].target == "a dog"
    assert corrected[0].source == compat[0].source


@pytest.mark.fault("13")
def test_background_of_a_full_mask(tmp_path: Path) -> None:
    """It has no value; what is full only with the border keeps its background when corrected."""
    items = {name: ITEM | change for name, change in ODD.items()}
    write(tmp_path, **items)
    a = np.zeros((512, 512, 3), np.uint8)
    b = a + np.uint8(1)
    compat, corrected = (
        [psnr(a, b, ~case.mask) for case in read(tmp_path, profile)]
        for profile in ("pie-compat", "corrected")
    )
    one = pytest.approx(20 * math.log10(255))
    assert compat == [None, None, one, one, one] and corrected == [None, one, one, one, one]


def test_corrected_refuses_what_passes_the_end(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="item past: mask run at index 2,"):
        read(write(tmp_path, past=ITEM | PAST_THE_END), "corrected")


@pytest.mark.fault("14")
@pytest.mark.parametrize("profile", ["pie-compat", "corrected"])
@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"mask": [0, 1, 2]}, "odd"),
        ({"mask": [0, 1, -1, 2]}, "index 2"),
        ({"mask": [0, 1, 5, -2]}, "index 2"),
        ({"mask": [0, 1.0]}, "index 0"),
        ({"mask": [[0, 1], [2, 3]]}, "index 0"),
        ({"mask": {"0": 1}}, "dict"),
        ({"original_prompt": 7}, "original_prompt must be a valid string, not 7"),
        ({"editing_prompt": ["a dog"]}, "editing_prompt"),
        ({"editing_prompt": "half a \ud83d"}, "half a character"),
        ({"editing_prompt": None}, "editing_prompt must be"),
        ({"image_path": 3}, "image_path"),
        ({"image_path": "a\0.jpg"}, "is no path"),
        ({"image_path": "../mapping_file.json"}, "leaves the folder"),
        ({"blended_word": ["cat", "dog"]}, "blended_word"),
        ({"editing_type_id": True}, "editing_type_id"),
        ({"editing_type_id": 1.0}, "editing_type_id"),
    ],
)
def test_both_profiles_refuse(
    profile: Any, change: dict[str, Any], word: str, tmp_path: Path
) -> None:
    items = {"000000000001": ITEM, "000000000002": ITEM | change}
    with pytest.raises(InputError, match=word) as refused:
        read(write(tmp_path, **items), profile)
    assert str(refused.value).startswith("item 000000000002")
    assert "\n" not in str(refused.value)


@pytest.mark.fault("18")
def test_the_folder_itself_is_no_way_out(tmp_path: Path) -> None:
    """Neither its pictures nor its mapping may be a link to elsewhere, and sizes are bounded."""
    folder, elsewhere = tmp_path / "set", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "annotation_images").symlink_to(elsewhere)
    with pytest.raises(InputError, match="'annotation_images' leaves the folder set"):
        read(write(folder, n=ITEM))
    (folder / "mapping_file.json").rename(elsewhere / "mapping_file.json")
    (folder / "mapping_file.json").symlink_to(elsewhere / "mapping_file.json")
    with pytest.raises(InputError, match=r"'mapping_file\.json' leaves the folder set"):
        read(folder)
    (folder / "mapping_file.json").unlink()
    with (folder / "mapping_file.json").open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(InputError, match="over 64 MiB"):
        read(folder)
    (folder / "mapping_file.json").write_bytes(b"\xff{}")
    with pytest.raises(InputError, match="UTF-8"):
        read(folder)
    (folder / "mapping_file.json").write_text('{"n":' * 100_000)
    with pytest.raises(InputError, match="not JSON"):
        read(folder)


def test_profiles_are_two() -> None:
    assert plain("a [[red]  ] cat", "pie-compat") == "a red   cat"
    assert plain("a [[red]  ] cat", "corrected") == "a red cat"
    with pytest.raises(InputError, match="pie-compat or corrected, not 'best'"):
        check_profile("best")
