"""Files that carry their settings: PNG, JPEG and WebP."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from counterflow import carriers, images
from counterflow.errors import InputError
from image_files import picture, quick, sides

SUFFIXES = (".png", ".jpg", ".JPEG", ".webp")
settings = st.dictionaries(
    st.text(), st.text() | st.integers() | st.none() | st.lists(st.floats(-1, 1)), max_size=5
)


def user_comment(exif: bytes) -> bytes:
    """The UserComment of an EXIF block, read by the TIFF standard alone."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}[tiff[:2]]

    def entries(start: int) -> dict[int, tuple[int, int, int]]:
        (count,) = struct.unpack_from(order + "H", tiff, start)
        every = (struct.unpack_from(order + "HHII", tiff, start + 2 + 12 * i) for i in range(count))
        return {tag: rest for tag, *rest in every}

    (first,) = struct.unpack_from(order + "I", tiff, 4)
    kind, length, place = entries(entries(first)[0x8769][2])[0x9286]
    assert kind == 7, "its type is UNDEFINED"
    return tiff[place : place + length]


@quick
@given(settings, st.sampled_from(SUFFIXES), sides, sides)
def test_every_form_carries_its_settings(
    tmp_path_factory: pytest.TempPathFactory, given: dict[str, Any], suffix: str, w: int, h: int
) -> None:
    """And pixels as `after_storing` says, of the picture's own size."""
    path = tmp_path_factory.mktemp("forms") / f"out{suffix}"
    image = picture(w, h)
    images.save(image, path, given)
    back = images.read_settings(path)
    assert images.read_settings(path.read_bytes()) == back
    with Image.open(path) as file:
        pixels = np.asarray(file.convert("RGB"))
    told = np.asarray(carriers.after_storing(image, back))
    assert np.array_equal(pixels, told) and told.shape == (h, w, 3)
    if suffix == ".png":
        assert back == given and np.array_equal(pixels, np.asarray(image))
    else:
        assert back == given | {"format": file.format, "quality": 95}


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_the_text_is_where_exif_has_comments(tmp_path: Path, suffix: str) -> None:
    """Other programs find it as JSON in ASCII."""
    images.save(picture(), tmp_path / f"a{suffix}", {"source": "ein Bär 🐻"}, quality=70)
    with Image.open(tmp_path / f"a{suffix}") as file:
        comment = user_comment(file.info["exif"])
    assert comment[:8] == b"ASCII\0\0\0" and comment.isascii()
    held = {"source": "ein Bär 🐻", "format": file.format, "quality": 70}
    assert json.loads(comment[8:]) == {"counterflow": held}


def test_quality_is_a_choice(tmp_path: Path) -> None:
    sizes = [len(carriers.encode(picture(64, 64), "a.jpg", None, q)) for q in (20, 95, 100)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[2] / 2
    for bad in (0, 101):
        with pytest.raises(InputError, match="quality"):
            images.save(picture(), tmp_path / "a.jpg", {}, quality=bad)
    assert list(tmp_path.iterdir()) == []


def test_colours_keep_their_resolution() -> None:
    """A red line of one pixel stays red: chroma is not halved."""
    image = Image.new("RGB", (32, 32), "white")
    image.paste((255, 0, 0), (15, 0, 16, 32))
    stored = carriers.after_storing(image, {"format": "JPEG", "quality": 95})
    red, green, _ = stored.getpixel((15, 16))
    assert red > 230 and green < 60


def test_what_a_form_cannot_hold_is_refused(tmp_path: Path) -> None:
    long = {"target": "x" * 65_001}
    with pytest.raises(InputError, match=r"65000 bytes.*\.png"):
        images.save(picture(), tmp_path / "a.jpg", long)
    images.save(picture(), tmp_path / "a.webp", long)
    images.save(picture(), tmp_path / "a.png", long)
    assert images.read_settings(tmp_path / "a.webp")["target"] == long["target"]
    just = {"target": "x" * 64_900}
    images.save(picture(), tmp_path / "a.jpg", just)
    assert images.read_settings(tmp_path / "a.jpg")["target"] == just["target"]
    wide = Image.new("RGB", (16_400, 8))
    with pytest.raises(InputError, match=r"16383 pixels.*16400.*\.png"):
        images.save(wide, tmp_path / "wide.webp")
    for name in ("a.gif", "a", "a.png.tiff"):
        with pytest.raises(InputError, match=r"\.png, \.jpg, \.jpeg or \.webp"):
            images.save(picture(), tmp_path / name)


def test_comments_of_others_are_not_ours(tmp_path: Path) -> None:
    """A camera's, a damaged one, and none."""
    for n, comment in enumerate((b"ASCII\0\0\0holiday", b"UNICODE\0\xff", b"", None)):
        exif = Image.Exif()
        if comment is not None:
            exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
        picture().save(tmp_path / f"{n}.jpg", exif=exif)
        with pytest.raises(InputError, match="no settings"):
            images.read_settings(tmp_path / f"{n}.jpg")
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = carriers.COMMENT + b"[1]}"
    picture().save(tmp_path / "list.jpg", exif=exif)
    with pytest.raises(InputError, match="JSON object"):
        images.read_settings(tmp_path / "list.jpg")


@pytest.mark.parametrize("told", [{"format": "GIF"}, {"format": "JPEG"}, {"format": 3}])
def test_settings_of_no_form_are_refused(told: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"form of file|quality"):
        carriers.after_storing(picture(), told)
