"""The benchmark sets: each reader gives the same kind of case, balanced, and refuses by name."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from counterflow.bench.sets import cases, pie, toypie
from counterflow.bench.sets.cases import Case, in_turn
from counterflow.bench.sets.pie import encode_mask
from counterflow.bench.sets.toypie import scene_edits
from counterflow.errors import InputError
from counterflow.images import save_png
from counterflow.toybox.edits import CATEGORIES
from counterflow.toybox.render import render
from counterflow.toybox.scene import HELD_OUT_SEEDS, TRAINING_SEEDS


def picture(path: Path, size: tuple[int, int] = (32, 32), color: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


def same(a: Image.Image | None, b: Image.Image | None) -> bool:
    return a is not None and b is not None and a.tobytes() == b.tobytes()


def test_toypie_is_drawn_on_the_spot() -> None:
    """Forty of each kind from the shipped seed, in turn; what is asked for is as in the scenes."""
    found = cases.read("toypie")
    assert Counter(case.category for case in found) == dict.fromkeys(CATEGORIES.values(), 40)
    assert [case.category for case in found[:10]] == list(CATEGORIES.values())
    assert len({case.name for case in found}) == len({case.group for case in found}) == 400
    for case, edit in zip(found[:3], scene_edits(3, toypie.SEED), strict=True):
        assert case.edit == edit and (case.source, case.target) == edit.prompts
        assert same(case.picture(), render(edit.source)) and same(case.truth(), render(edit.target))
        assert case.mask is not None and np.array_equal(case.mask, edit.mask())
    assert cases.read("toypie", limit=7) == found[:7]
    assert cases.read("toypie", seed=500, per_category=2)[3].edit == scene_edits(20, 500)[3]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the writer made: one case of each kind."""
    where = tmp_path_factory.mktemp("toypie") / "t"
    toypie.write_cases(where, seed=60, per_category=1)
    return where


@pytest.mark.parametrize("profile", ["pie-compat", "corrected"])
def test_a_written_toypie_is_the_drawn_one(written: Path, profile: Any) -> None:
    """The folder gives the same cases in the same order, from files, whatever the profile."""
    read = cases.read(written, profile=profile)
    for a, b in zip(read, cases.read("toypie", seed=60, per_category=1), strict=True):
        assert (a.name, a.category, a.edit) == (b.name, b.category, b.edit)
        assert (a.source, a.target) == (b.source, b.target)
        assert a.image is not None and b.image is None and a.truth_image is not None
        assert same(a.picture(), b.picture()) and same(a.truth(), b.truth())
        assert a.mask is not None and np.array_equal(a.mask, b.mask)
    assert cases.read(written / "mapping_file.json", profile=profile, limit=4) == read[:4]
    assert pickle.loads(pickle.dumps(read)) == read


def test_limits_are_balanced() -> None:
    """Any beginning has equally many of each category, within one; order is kept within one."""
    names = "aaaaabbbc"
    found = [Case(f"{name}{i}", name, "", "", "") for i, name in enumerate(names)]
    order = in_turn(found)
    assert [case.name for case in order] == ["a0", "b5", "c8", "a1", "b6", "a2", "b7", "a3", "a4"]
    assert in_turn(found, 1) == order[:3] and in_turn(found, 2) == order[:5]
    kinds = [Case(name, name, "", "", "") for name in reversed(CATEGORIES.values())]
    assert [case.name for case in in_turn(kinds)] == list(CATEGORIES.values())


@pytest.mark.parametrize("asked", [{"limit": 0}, {"limit": -1}, {"per_category": 0}])
def test_limits_that_are_none(asked: dict[str, int]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(asked))} is 1 or more"):
        cases.read("toypie", **asked)


@pytest.mark.parametrize("seed", [TRAINING_SEEDS.start - 1, HELD_OUT_SEEDS.start])
def test_no_scenes_of_the_training(seed: int) -> None:
    with pytest.raises(InputError, match="not fresh"):
        cases.read("toypie", seed=seed, limit=2)


ITEM: dict[str, Any] = {
    "image_path": "0_random/a.png",
    "original_prompt": "a [cat] on grass",
    "editing_prompt": "a [dog] on grass",
    "editing_type_id": "1",
    "mask": [0, 512 * 256],
}


def folder(at: Path, **items: Any) -> Path:
    (at / "mapping_file.json").write_text(json.dumps(items))
    picture(at / "annotation_images" / "0_random" / "a.png", (40, 24))
    return at


def test_a_folder_of_pie_bench(tmp_path: Path) -> None:
    """Masks fit pictures of any shape; equal pictures with equal prompts share an inversion."""
    middle = np.zeros((512, 512), bool)
    middle[128:384, 256:] = True
    items = {
        "one": ITEM,
        "two": ITEM | {"editing_prompt": "a frog on grass", "mask": encode_mask(middle)},
        "three": ITEM | {"original_prompt": "a pet on grass", "editing_type_id": "9"},
        "four": ITEM | {"image_path": "0_random/../0_random/a.png", "original_prompt": "a [pet]"},
    }
    one, three, two, four = cases.read(folder(tmp_path, **items), profile="corrected")
    assert [case.name for case in (one, two, three, four)] == list(items)
    assert (one.source, one.category, three.category) == (
        *("a cat on grass", "change object", "change style"),
    )
    assert one.group == two.group and len({case.group for case in (one, three, four)}) == 3
    half, part = one.mask, two.mask
    assert half is not None and half.shape == (24, 40) and half[:12].all() and not half[12:].any()
    assert part is not None and part[6:18, 20:].all() and part.sum() == 12 * 20
    assert one.truth() is None and one.edit is None and one.picture().size == (40, 24)
    assert one.annotation == pie.read(tmp_path, "corrected")[0]
    moved = tmp_path.parent / "moved"
    tmp_path.rename(moved)
    assert cases.read(moved, profile="corrected")[0].group == one.group


def test_masks_of_full_size_are_the_annotations(tmp_path: Path) -> None:
    """Where nothing is fitted, the border that only one profile adds is there to the pixel."""
    at = folder(tmp_path, n=ITEM)
    picture(at / "annotation_images" / "0_random" / "a.png", (512, 512))
    (compat,), (corrected,) = (
        cases.read(at, profile=profile) for profile in ("pie-compat", "corrected")
    )
    assert compat.mask is not None and corrected.mask is not None
    assert compat.mask.sum() == 256 * 512 + 512 + 2 * 255 and corrected.mask.sum() == 256 * 512


def test_one_missing_picture_fails_alone(tmp_path: Path) -> None:
    items = {"one": ITEM, "two": ITEM | {"image_path": "gone.png"}}
    one, two = cases.read(folder(tmp_path, **items))
    assert one.picture().size == (40, 24)
    for ask in (two.picture, lambda: two.mask):
        with pytest.raises(InputError, match=r"gone\.png: cannot be read"):
            ask()


@pytest.mark.fault("F8")
@pytest.mark.parametrize(
    "name", ["../x", "a/b", "", ".hidden", "a b", "é", "x" * 101, "method", "Method"]
)
def test_names_are_safe_as_files(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot name a file"):
        cases.read(folder(tmp_path, **{name: ITEM}))


def test_names_differ_where_letters_do_not(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="item A cannot name a file of its own"):
        cases.read(folder(tmp_path, a=ITEM, A=ITEM))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda told: told["scenes"].popitem(), "item 9"),
        (lambda told: told.pop("scenes"), "lacks scenes"),
        (
            lambda told: told["scenes"].update({"900000000068": {}}),
            "lacks scenes.900000000068.source",
        ),
        (lambda told: told["scenes"]["900000000068"]["source"].update(kind="cow"), "kind is 'cow'"),
        (lambda told: told["scenes"]["900000000068"]["target"].update(seed="x"), "item 9"),
        (lambda told: told["scenes"]["900000000068"]["target"].update(seed=10**9), "not fresh"),
        (
            lambda told: told["scenes"]["900000000068"].update(source=3),
            "900000000068.source must be",
        ),
    ],
)
def test_scenes_that_are_unsound(change: Any, word: str, written: Path, tmp_path: Path) -> None:
    shutil.copytree(written, tmp_path / "t")
    told = json.loads((written / "scenes.json").read_text())
    change(told)
    (tmp_path / "t" / "scenes.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match=word):
        cases.read(tmp_path / "t")


def test_true_pictures_stay_in_the_folder(written: Path, tmp_path: Path) -> None:
    shutil.copytree(written, tmp_path / "t")
    (tmp_path / "t" / "truth_images").rename(tmp_path / "away")
    (tmp_path / "t" / "truth_images").symlink_to(tmp_path / "away")
    with pytest.raises(InputError, match="'truth_images' leaves the folder t"):
        cases.read(tmp_path / "t")


LIST = """
-
    init_img:  flowedit_data/bear.png

    source_prompt: A bear walking through a stream.
        It is shallow, said the bear''s friend.
    target_prompts:
     - A panda walking through a stream.
     - A lion walking through a stream.

    target_codes:
     - 1_panda
     - 2 lion/../
-
    input_img : pictures/bus.png
    source_prompt: "NO: a bus"
    target_prompts: A van.
    seed: 3
"""


def listed(at: Path, text: str = LIST, name: str = "edits.yaml") -> Path:
    picture(at / "Images" / "bear.png", (32, 48))
    picture(at / "pictures" / "bus.png")
    (at / name).write_text(text)
    return at / name


def test_a_list_like_flowedits(tmp_path: Path) -> None:
    """A case for each target, in order; both keys and both places of pictures are known."""
    panda, lion, van = cases.read(listed(tmp_path))
    assert (
        panda.source == "A bear walking through a stream. It is shallow, said the bear''s friend."
    )
    assert (panda.target, lion.target, van.source, van.target) == (
        "A panda walking through a stream.",
        "A lion walking through a stream.",
        "NO: a bus",
        "A van.",
    )
    assert panda.group == lion.group != van.group
    assert [c.name for c in (panda, lion, van)] == [
        "000_000_bear_1-panda",
        "000_001_bear_2-lion-..-",
        "001_000_bus",
    ]
    assert panda.picture().size == (32, 48) and van.image == tmp_path / "pictures" / "bus.png"
    for case in (panda, van):
        assert (case.category, case.mask, case.edit, case.truth()) == ("", None, None, None)
    assert cases.read(tmp_path) == [panda, lion, van] and cases.read(tmp_path, limit=1) == [panda]


SOUND = {"init_img": "pictures/bus.png", "source_prompt": "a bus", "target_prompts": ["a van"]}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"init_img": "../../etc/passwd"}, "leaves the folder"),
        ({"init_img": "/etc/passwd"}, "leaves the folder"),
        ({"init_img": "out/passwd"}, "leaves the folder"),
        ({"init_img": 3}, "init_img must be a valid string, not 3"),
        ({"input_img": "b.png"}, "needs one picture: init_img or input_img"),
        ({"source_prompt": True}, "source_prompt must be a valid string, not True"),
        ({"target_prompts": []}, "target_prompts must have at least 1 item"),
        ({"target_prompts": {"a": 1}}, "target_prompts must be a valid list"),
        ({"target_prompts": ["a van", 7]}, r"target_prompts\[1\] must be a valid string, not 7"),
        ({"target_prompts": [["a van"]]}, r"target_prompts\[0\]"),
        ({"target_codes": ["a", "b"]}, "2 target_codes for 1 target_prompts"),
        ({"target_codes": [1]}, r"target_codes\[0\]"),
    ],
)
def test_malformed_lists(change: dict[str, Any], word: str, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    path = listed(tmp_path / "set", yaml.safe_dump([SOUND, deepcopy(SOUND) | change]))
    (path.parent / "out").symlink_to(tmp_path)
    with pytest.raises(InputError, match=word) as refused:
        cases.read(path)
    assert re.search("edits.yaml(, item at index 1| is not YAML)", str(refused.value))


@pytest.mark.parametrize("key", ["init_img", "source_prompt", "target_prompts"])
def test_lists_that_lack_a_key(key: str, tmp_path: Path) -> None:
    item = {name: value for name, value in SOUND.items() if name != key}
    with pytest.raises(InputError, match=f"index 0: .*{key}"):
        cases.read(listed(tmp_path, yaml.safe_dump([item])))


BOMB = "- &a [x, x]\n- &b [*a, *a]\n- [*b, *b]\n"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: 1", "must hold a list"),
        ("", "must hold a list"),
        ("- 3", "index 0: must be an object, not 3"),
        ("- [unclosed", "not YAML"),
        ("- !!python/object/apply:os.getcwd []", "not YAML"),
        ("- !!timestamp x", "not YAML"),
        ("- 2024-99-99", "not YAML"),
        ('- "half \\ud83d"', "not YAML|half a character|must be an object"),
        (BOMB, "aliases"),
        ("[" * 5000, "nests deeply"),
        ("x" * ((1 << 20) + 1), "over 1 MiB"),
        ("[]", "holds no cases"),
    ],
)
def test_what_is_no_list(text: str, word: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=word):
        cases.read(listed(tmp_path, text))


def test_what_is_no_benchmark(tmp_path: Path) -> None:
    for nothing in (tmp_path, tmp_path / "absent", tmp_path / "toypie", "a\0b"):
        with pytest.raises(InputError, match="no benchmark at"):
            cases.read(nothing)
    listed(tmp_path, name="one.yaml")
    listed(tmp_path, name="two.yml")
    with pytest.raises(InputError, match=r"holds one\.yaml, two\.yml; name"):
        cases.read(tmp_path)
    folder(tmp_path)
    with pytest.raises(InputError, match="holds no cases"):
        cases.read(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "list.yaml").symlink_to(tmp_path / "one.yaml")
    with pytest.raises(InputError, match="leaves the folder out"):
        cases.read(tmp_path / "out")


def test_a_case_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a picture nor a scene"):
        Case("x", "", "", "", "").picture()
    save_png(Image.new("RGB", (20, 20)), tmp_path / "a.png", None)
    mine = Case("x", "", "a cat", "a dog", "x", image=tmp_path / "a.png")
    assert mine.picture().size == (20, 20) and mine.mask is None and mine.truth() is None
