"""Pictures in and out: the round trips, and one test for each bad file of the faults list."""

import io
import math
import os
import pickle
import stat
import struct
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from counterflow import images
from counterflow.errors import CounterflowError, InputError, ModelError, NumericsError

ORIENTATION = 0x0112
quick = settings(max_examples=25, deadline=None)
sides = st.integers(1, 40)


# Making files, good and bad


def picture(width: int = 24, height: int = 32, seed: int = 0) -> Image.Image:
    """Noise: any turn, flip or shift of it is noticed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def chunk(kind: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check


def png(width: int, height: int, bits: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG made by hand; `rows` are unpacked scan lines, each after its filter byte."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def grey16(values: np.ndarray, *extra: bytes) -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(values.shape[1], values.shape[0], 16, 0, rows, *extra)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[ORIENTATION] = orientation
    return block.tobytes()


def swapped_profile() -> bytes:
    """sRGB's profile with the red and green columns exchanged, so that its use shows."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = data.index(b"rXYZ"), data.index(b"gXYZ")
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data)


def refused(path: Path, *words: str) -> str:
    """Assert that `path` is refused by a one-line InputError which names it and says `words`."""
    with pytest.raises(InputError) as caught:
        images.load(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    said = message.replace(str(path), "")  # its folder has the test's name, words and all
    assert all(word in said for word in words), message
    return message


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def put(tmp_path: Path):
    def write(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


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
        assert str(place) in str(caught.value) and "cannot be written" in str(caught.value)
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


# Colour, depth and transparency


def test_plain_pictures_of_every_format(put):
    for kind in images.FORMATS:
        path = put(f"a.{kind.lower()}", encoded(picture().convert("L"), kind))
        image = images.load(path)
        assert (image.mode, image.size) == ("RGB", (24, 32))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_scaled(put, kind):
    levels = np.linspace(0, 65535, 24 * 32).round().astype(np.uint16).reshape(32, 24)
    data = grey16(levels) if kind == "PNG" else encoded(Image.fromarray(levels), "TIFF")
    pixels = np.asarray(images.load(put("deep", data)))
    assert np.array_equal(pixels[..., 0], np.rint(levels / 257).astype(np.uint8))
    assert len(np.unique(pixels)) == 256  # neither clipped nor the low byte


def test_big_endian_and_signed_grey_of_16_bits(put):
    levels = np.arange(768, dtype=np.uint16).reshape(32, 24) * 85
    tiff = encoded(Image.frombytes("I;16B", (24, 32), levels.astype(">u2").tobytes()), "TIFF")
    assert np.array_equal(
        np.asarray(images.load(put("b.tif", tiff)))[..., 0], np.rint(levels / 257)
    )
    wide = encoded(Image.fromarray(levels.astype(np.int32)), "TIFF")
    assert np.array_equal(
        np.asarray(images.load(put("i.tif", wide)))[..., 0], np.rint(levels / 257)
    )


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_grey_of_32_bits_has_no_white(put, dtype):
    values = np.full((20, 20), -5, dtype)
    refused(put("deep.tif", encoded(Image.fromarray(values), "TIFF")), "16 bits")


def test_transparent_grey_of_16_bits_is_flattened(put):
    levels = np.full((16, 16), 65535, np.uint16)
    levels[:8], levels[8:12] = 1000, 1001
    path = put("a.png", grey16(levels, chunk(b"tRNS", struct.pack(">H", 1000))))
    pixels = np.asarray(images.load(path))
    assert (pixels[:8] == 255).all()
    assert (pixels[8:12] == 4).all()


def test_cmyk_jpeg(put):
    red = encoded(Image.new("CMYK", (20, 20), (0, 255, 255, 0)), "JPEG", quality=95)
    image = images.load(put("a.jpg", red))
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image, int) - [255, 0, 0]).max() <= 3


def test_embedded_profile_is_converted_and_dropped(put, folder):
    image = Image.new("RGB", (20, 20), (230, 20, 20))
    path = put("a.png", encoded(image, icc_profile=swapped_profile()))
    loaded = images.load(path)
    assert np.abs(np.asarray(loaded, int) - [20, 230, 20]).max() <= 3
    assert loaded.info == {}
    images.save_png(loaded, folder / "b.png")  # else the second reading would swap again
    assert np.array_equal(np.asarray(images.load(folder / "b.png")), np.asarray(loaded))


def test_grey_with_a_colour_profile_is_usual(put):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = put("a.jpg", encoded(Image.new("L", (20, 20), 90), "JPEG", icc_profile=srgb))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.abs(np.asarray(images.load(path), int) - 90).max() <= 1


def test_transparent_picture_with_a_profile(put):
    image = Image.new("RGBA", (20, 20), (230, 20, 20, 255))
    image.paste((230, 20, 20, 0), (0, 0, 20, 10))
    pixels = np.asarray(
        images.load(put("a.png", encoded(image, icc_profile=swapped_profile()))), int
    )
    assert (pixels[:10] == 255).all()
    assert np.abs(pixels[10:] - [20, 230, 20]).max() <= 3


def test_broken_profiles_only_warn(put):
    rgb, cmyk = picture(), Image.new("CMYK", (20, 20))
    rows = (b"\0" + bytes(60)) * 20
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, data in {
        "junk.png": encoded(rgb, icc_profile=b"no profile at all"),
        "unpacked.png": png(20, 20, 8, 2, rows, chunk(b"iCCP", b"x\0\0not zlib")),
        "wrong.jpg": encoded(cmyk, "JPEG", icc_profile=srgb),
    }.items():
        with pytest.warns(UserWarning, match=f"{name}: a broken profile"):
            image = images.load(put(name, data))
        assert image.mode == "RGB"


def test_transparency_is_flattened_on_white(put):
    clear = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    clear.paste((10, 20, 30, 255), (0, 0, 20, 10))
    for name, data in {
        "a.png": encoded(clear),
        "a.webp": encoded(clear, "WEBP", lossless=True),
        "palette.png": encoded(clear.quantize(4), "PNG"),
        "grey.png": encoded(clear.convert("LA")),
        "a.gif": encoded(clear, "GIF"),
    }.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow's own about palettes, too
            pixels = np.asarray(images.load(put(name, data)), int)
        assert (pixels[10:] == 255).all(), name
        colour = [19, 19, 19] if "grey" in name else [10, 20, 30]
        assert np.abs(pixels[:10] - colour).max() <= 1, name
    half = put("half.png", encoded(Image.new("RGBA", (20, 20), (0, 0, 0, 128))))
    assert np.abs(np.asarray(images.load(half), int) - 127).max() <= 1


# Orientation


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(10))
def test_orientation_is_applied_once(put, kind, orientation):
    turned = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
        8: lambda a: np.rot90(a),
    }.get(orientation, lambda a: a)
    options = {"lossless": True} if kind == "WEBP" else {}
    path = put("a", encoded(picture(), kind, exif=exif(orientation), **options))
    assert np.array_equal(np.asarray(images.load(path)), turned(np.asarray(picture())))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_orientation_in_xmp(put, kind):
    xmp = '<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"></x:xmpmeta>'
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp)
    options = {"pnginfo": info} if kind == "PNG" else {"tiffinfo": {700: xmp.encode()}}
    loaded = images.load(put("a", encoded(picture(), kind, **options)))
    assert np.array_equal(np.asarray(loaded), np.rot90(np.asarray(picture()), -1))


def test_mask_is_aligned_with_an_upturned_picture(put):
    scene = Image.new("RGB", (24, 32))
    scene.paste("white", (2, 3, 9, 12))
    path = put("a.jpg", encoded(scene, "JPEG", exif=exif(6), quality=95))
    upright = images.load(path)
    assert upright.size == (32, 24)
    mask = images.load_mask(path, upright.size)  # the picture's own bright part
    assert mask.shape == (24, 32)
    assert np.array_equal(mask, np.asarray(upright.convert("L")) >= 128)
    drawn = put("m.png", encoded(upright.convert("L")))  # drawn over what a viewer shows
    assert np.array_equal(images.load_mask(drawn, upright.size), mask)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "block", [b"Exif\0\0garbage!!!!", exif(6)[:20], b"Exif\0\0II*\0\xff\xff\xff\x7f"]
)
def test_corrupt_exif_warns_and_goes_on(put, kind, block):
    path = put("a", encoded(picture(), kind, exif=block))
    with pytest.warns(UserWarning, match=r"(?i)corrupt EXIF"):
        image = images.load(path)
    assert image.size == (24, 32)


# Files that are not one sound picture


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
        assert name in str(caught.value)
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


@pytest.mark.parametrize("kind", FOREIGN)
def test_other_formats_under_a_pictures_name(put, kind):
    refused(put("a.png", FOREIGN[kind]), "not one of PNG")


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


@pytest.mark.parametrize("size", [(1, 1), (8000, 16), (16, 8000), (15, 40), (16, 129)])
def test_shapes_no_model_works_at(put, size):
    refused(put("a.png", encoded(Image.new("L", size))), f"{size[0]}x{size[1]}", "16", "8:1")


@pytest.mark.parametrize("size", [(16, 16), (16, 128), (17, 31)])
def test_least_shapes_and_odd_ones_are_read(put, size):
    assert images.load(put("a.png", encoded(Image.new("L", size)))).size == size


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


# Masks


def test_mask_threshold(put):
    ramp = np.tile(np.arange(256, dtype=np.uint8), (40, 1))
    mask = images.load_mask(put("m.png", encoded(Image.fromarray(ramp))), (256, 40))
    assert mask.dtype == bool and mask.shape == (40, 256)
    assert np.array_equal(mask, ramp >= 128)


def test_mask_ignores_profiles_and_transparency_is_outside(put):
    image = Image.new("RGBA", (20, 20), (255, 255, 255, 255))
    image.paste((255, 255, 255, 0), (0, 0, 20, 10))
    image.paste((255, 0, 0, 255), (0, 15, 20, 20))  # luma 76; green's would be 150
    path = put("m.png", encoded(image, icc_profile=swapped_profile()))
    mask = images.load_mask(path, (20, 20))
    assert not mask[:10].any() and mask[10:15].all() and not mask[15:].any()


def test_mask_of_one_bit_and_of_16(put):
    half = np.zeros((20, 20), bool)
    half[:, 7:] = True
    levels = np.where(half, 33_000, 32_000).astype(np.uint16)
    for data in (encoded(Image.fromarray(half)), grey16(levels)):
        assert np.array_equal(images.load_mask(put("m.png", data), (20, 20)), half)


def test_mask_of_another_size_names_both(put):
    path = put("m.png", encoded(Image.new("L", (20, 30))))
    with pytest.raises(InputError, match=r"m\.png.*20x30.*30x20"):
        images.load_mask(path, (30, 20))


@pytest.mark.parametrize(("level", "side"), [(0, "outside"), (1, "outside"), (255, "inside")])
def test_mask_all_on_one_side(put, level, side):
    path = put("m.png", encoded(Image.new("L", (20, 20), level)))
    with pytest.raises(InputError, match=rf"m\.png: all is {side}"):
        images.load_mask(path, (20, 20))


def test_mask_faults_are_those_of_pictures(folder, put):
    for path in (folder, folder / "missing", put("a.png", b""), put("b.png", FOREIGN["pdf"])):
        with pytest.raises(InputError) as caught:
            images.load_mask(path, (20, 20))
        assert str(path) in str(caught.value)
