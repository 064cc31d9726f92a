"""Files that are not one sound picture: one test for each of the faults list."""

import os
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from counterflow import images
from counterflow.errors import InputError, plain
from image_files import (
    chunk,
    encoded,
    picture,
    png,
    refused,
)

# Files that are not one sound picture


@pytest.mark.fault("10")
@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animation_gives_its_first_frame_and_warns(put, kind):
    first, second = Image.new("RGB", (20, 20), "red"), Image.new("RGB", (20, 20), "blue")
    path = put("a", encoded(first, kind, save_all=True, append_images=[second]))
    with pytest.warns(UserWarning, match="only the first"):
        image = images.load(path)
    assert np.abs(np.asarray(image, int) - [255, 0, 0]).max() <= 3


def test_a_telephones_mpo_is_not_an_animation(put):
    path = put("a.jpg", encoded(picture(), "MPO", save_all=True, append_images=[picture(8, 8)]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert images.load(path).size == (24, 32)


@pytest.mark.fault("3")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("kept", [0.02, 0.6])
def test_truncated(put, kind, kept):
    data = encoded(picture(64, 64), kind)
    path = put("a", data[: int(len(data) * kept)])
    refused(path)
    with pytest.raises(InputError):
        images.load_mask(path, (64, 64))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(images.FORMATS), st.data())
def test_any_damage_is_read_or_refused(tmp_path_factory, kind, data):
    """Bytes overwritten at random: an InputError or a picture, never a decoder's exception."""
    good = bytearray(encoded(picture(), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damage") / "a"
    path.write_bytes(good)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            assert images.load(path).mode == "RGB"
        except InputError as error:
            assert str(path) in str(error)


@pytest.mark.fault("4")
@pytest.mark.parametrize("read", [images.load, images.read_settings])
def test_what_is_not_a_file(folder, put, read):
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    (folder / "loop.png").symlink_to("loop.png")
    places = ["pipe.png", "folder.png", "loop.png", "missing.png", "nul\0.png", "n" * 300]
    for name in [*places, put("empty.png", b"").name]:
        start = time.monotonic()
        with pytest.raises(InputError) as caught:
            read(folder / name)
        assert plain(name) in str(caught.value)
        assert time.monotonic() - start < 1  # a pipe without a writer would wait for ever
    for name, reason in {
        "empty.png": "is empty",
        "pipe.png": "a pipe",
        "folder.png": "a folder",
    }.items():
        with pytest.raises(InputError, match=reason):
            read(folder / name)


def test_a_line_break_in_a_name_stays_out_of_the_message(folder):
    with pytest.raises(InputError) as caught:
        images.load(folder / "two\nlines.png")
    assert "\n" not in str(caught.value)


FOREIGN = {
    "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"/>',
    "fits": b"SIMPLE  =                    T".ljust(80)
    + b"BITPIX  =                    8".ljust(80)
    + b"NAXIS   =                    0".ljust(80)
    + b"END".ljust(2640),
    "ppm": b"P6 20 20 255\n" + bytes(1200),
    "text": b"hello",
}


@pytest.mark.fault("2")
@pytest.mark.parametrize("kind", FOREIGN)
def test_other_formats_under_a_pictures_name(put, kind):
    refused(put("a.png", FOREIGN[kind]), "not one of PNG")


@pytest.mark.fault("1")
@pytest.mark.parametrize("size", [(30_000, 30_000), (10_000, 10_000), (8_000, 8_001)])
def test_too_many_pixels_are_refused_by_the_header(put, size):
    path = put("huge.png", png(*size, 8, 2, bytes(100)))
    start = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own, between its limit and twice that
        refused(path, "pixels")
        warnings.simplefilter("error")
        refused(path, "pixels")
    assert time.monotonic() - start < 1


@pytest.mark.fault("11")
@pytest.mark.parametrize("size", [(1, 1), (8000, 16), (16, 8000), (15, 40), (16, 129)])
def test_shapes_no_model_works_at(put, size):
    refused(put("a.png", encoded(Image.new("L", size))), f"{size[0]}x{size[1]}", "16", "8:1")


@pytest.mark.parametrize(
    "image",
    [
        Image.new("RGB", (9, 200)),
        Image.new("L", (8000, 16)),
        Image.new("F", (32, 32)),
        np.zeros((32, 32, 3)),
        None,
    ],
)
def test_pictures_in_memory_are_refused_as_files_are(image):
    with pytest.raises(InputError, match=r"^the picture\b") as caught:
        images.normalise(image)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("size", [(16, 16), (16, 128), (17, 31)])
def test_least_shapes_and_odd_ones_are_read(put, size):
    assert images.load(put("a.png", encoded(Image.new("L", size)))).size == size


@pytest.mark.fault("12")
def test_oversize_metadata(put):
    big = b"x" * 2_000_000
    image, rows = picture(), (b"\0" + bytes(60)) * 20
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", big.decode(), zip=True)
    late = chunk(b"tEXt", b"Comment\0" + big)
    end = chunk(b"IEND", b"")
    for name, data in {
        "zipped.png": encoded(image, pnginfo=info),
        "plain.png": png(20, 20, 8, 2, rows, late),
        "late.png": png(20, 20, 8, 2, rows)[: -len(end)] + late + end,
        "profile.png": encoded(image, icc_profile=big),
        "profile.jpg": encoded(image, "JPEG", icc_profile=big),
        "profile.webp": encoded(image, "WEBP", icc_profile=big),
        "profile.tif": encoded(image, "TIFF", icc_profile=big),
    }.items():
        refused(put(name, data))


def test_warnings_made_errors_stay_warnings(put):
    gif = encoded(picture(), "GIF", save_all=True, append_images=[picture(seed=1)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="only the first"):
            images.load(put("a.gif", gif))


def test_mask_faults_are_those_of_pictures(folder, put):
    for path in (folder, folder / "missing", put("a.png", b""), put("b.png", FOREIGN["pdf"])):
        with pytest.raises(InputError) as caught:
            images.load_mask(path, (20, 20))
        assert str(path) in str(caught.value)
