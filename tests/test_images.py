"""Pictures in and out: errors, round trips, and how they are written."""

import math
import os
import pickle
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from counterflow import images
from counterflow.errors import CounterflowError, InputError, ModelError, NumericsError, plain
from image_files import (
    picture,
    quick,
    sides,
)

# Errors


def test_each_error_has_its_exit_code_and_one_line():
    codes = {kind: kind.exit_code for kind in (InputError, ModelError, NumericsError)}
    assert len({0, CounterflowError.exit_code, *codes.values()}) == 5
    assert all(issubclass(kind, CounterflowError) for kind in codes)
    error = InputError("a\nb\r\nc")
    assert str(error) == "a b c"
    assert str(pickle.loads(pickle.dumps(error))) == "a b c"  # workers send theirs home


# Round trips and invariants


@quick
@given(sides, sides, st.integers(0, 99))
def test_array_round_trip_is_exact(width, height, seed):
    image = picture(width, height, seed)
    array = images.to_array(image)
    assert array.dtype == np.float32 and array.shape == (3, height, width)
    assert array.min() >= -1 and array.max() <= 1
    assert np.array_equal(np.asarray(images.from_array(array)), np.asarray(image))


def test_to_array_puts_black_and_white_at_the_ends_and_resizes():
    assert (images.to_array(Image.new("RGB", (4, 3), "white")) == 1).all()
    assert (images.to_array(Image.new("RGB", (4, 3), "black")) == -1).all()
    assert images.to_array(picture(20, 30), (10, 15)).shape == (3, 15, 10)


def test_from_array_clips_and_refuses_what_is_not_finite():
    array = np.array([[[-7.0]], [[0.0]], [[9.0]]], dtype=np.float32)
    assert images.from_array(array).getpixel((0, 0)) == (0, 128, 255)
    for bad in (np.nan, np.inf, -np.inf):
        array[1] = bad
        with pytest.raises(NumericsError):
            images.from_array(array)


def test_resize_is_lanczos_and_keeps_what_fits():
    image = picture(20, 30)
    assert images.resize(image, (20, 30)) is image
    expected = image.resize((8, 9), Image.Resampling.LANCZOS)
    assert np.array_equal(np.asarray(images.resize(image, (8, 9))), np.asarray(expected))


@given(
    st.tuples(st.integers(16, 8000), st.integers(16, 8000)),
    st.integers(64, 2048).map(lambda side: side * side),
    st.sampled_from([1, 8, 16, 32, 64]),
)
def test_fit_keeps_aspect_area_and_multiple(size, area, multiple):
    fitted = images.fit(size, area, multiple)
    scale = math.sqrt(area / (size[0] * size[1]))
    for side, given_side in zip(fitted, size, strict=True):
        assert side % multiple == 0 and side >= multiple
        near = abs(side - given_side * scale) <= multiple / 2 + 1e-6
        assert near or side == multiple  # only the least size is further off
    assert images.fit(size[::-1], area, multiple) == fitted[::-1]


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([8, 16, 32]))
def test_fit_keeps_a_size_that_fits_already(columns, rows, multiple):
    size = (columns * multiple, rows * multiple)
    assert images.fit(size, size[0] * size[1], multiple) == size


@pytest.mark.parametrize("bad", [((0, 9), 9, 1), ((9, -1), 9, 1), ((9, 9), 0, 1), ((9, 9), 9, 0)])
def test_fit_refuses_nothing_and_less(bad):
    with pytest.raises(InputError):
        images.fit(*bad)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@quick
@given(st.dictionaries(st.text(), values, max_size=5), sides, sides)
def test_png_round_trip_of_pixels_and_settings(tmp_path_factory, chosen, width, height):
    path = tmp_path_factory.mktemp("png") / "new" / "folder" / "out.png"
    image = picture(width, height)
    images.save_png(image, path, chosen)
    assert images.read_settings(path) == chosen
    with Image.open(path) as back:
        assert np.array_equal(np.asarray(back), np.asarray(image))
    assert os.listdir(path.parent) == ["out.png"]


# Writing


def test_saved_picture_loads_again_and_may_carry_no_settings(folder):
    images.save_png(picture(), folder / "out.PNG")
    assert np.array_equal(np.asarray(images.load(folder / "out.PNG")), np.asarray(picture()))
    with pytest.raises(InputError, match="no settings"):
        images.read_settings(folder / "out.PNG")


@pytest.mark.parametrize("name", ["out.jpg", "out", "out.png.webp"])
def test_only_png_is_written(folder, name):
    with pytest.raises(InputError, match=r"\.png"):
        images.save_png(picture(), folder / name)
    assert os.listdir(folder) == []


@pytest.mark.parametrize("bad", [{"x": math.nan}, {"x": object()}, {"x": "y" * 2_000_000}])
def test_settings_that_could_not_be_read_back_are_not_written(folder, bad):
    with pytest.raises(InputError, match="the settings"):
        images.save_png(picture(), folder / "out.png", bad)
    assert os.listdir(folder) == []


@pytest.mark.parametrize("text", ["{", "[1]", "null", "[" * 100_000, ""])
def test_damaged_settings_are_refused(folder, text):
    info = PngImagePlugin.PngInfo()
    info.add_text(images.SETTINGS_KEY, text)
    picture().save(folder / "out.png", pnginfo=info)
    with pytest.raises(InputError, match="JSON"):
        images.read_settings(folder / "out.png")


def test_places_that_cannot_be_written(folder, put):
    (folder / "taken.png").mkdir()
    put("file", b"x")
    places = [folder / "taken.png", folder / "file" / "out.png", folder / "nul\0.png"]
    places += [folder / ("n" * 300 + ".png")]
    if Path("/proc/self").exists():
        places.append(Path("/proc/counterflow/out.png"))
    for place in places:
        with pytest.raises(InputError) as caught:
            images.save_png(picture(), place)
        assert plain(str(place)) in str(caught.value) and "cannot be written" in str(caught.value)
    assert sorted(os.listdir(folder)) == ["file", "taken.png"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes anywhere")
def test_read_only_folder(folder):
    folder.chmod(0o500)
    try:
        with pytest.raises(InputError, match="cannot be written"):
            images.save_png(picture(), folder / "out.png")
    finally:
        folder.chmod(0o700)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(put, monkeypatch, step):
    path = put("out.png", b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(InputError, match="No space left"):
        images.save_bytes_atomically(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == ["out.png"]


def test_the_file_is_flushed_before_it_takes_its_name(folder, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), replace(a, b)))
    images.save_bytes_atomically(folder / "x", b"data")
    assert calls == ["fsync", "replace", "fsync"]  # the file, its name, the folder
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((folder / "x").stat().st_mode) == 0o666 & ~mask
