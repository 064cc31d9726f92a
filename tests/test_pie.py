"""PIE-Bench's format: masks round trip, oddities are read, malformed items are refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from counterflow.bench.pie import decode_mask, encode_mask, read
from counterflow.errors import InputError


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
    with pytest.raises(InputError, match=r"item n lacks image_path"):
        read(write(tmp_path, n={}))
