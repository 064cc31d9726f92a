"""Pictures and masks as they are read: colour, depth, transparency and orientation."""

import struct
import warnings

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from counterflow import images
from counterflow.errors import InputError
from image_files import (
    chunk,
    encoded,
    exif,
    grey16,
    picture,
    png,
    refused,
    swapped_profile,
)

# Colour, depth and transparency


def test_plain_pictures_of_every_format(put):
    for kind in images.FORMATS:
        path = put(f"a.{kind.lower()}", encoded(picture().convert("L"), kind))
        image = images.load(path)
        assert (image.mode, image.size) == ("RGB", (24, 32))


@pytest.mark.fault("8")
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


@pytest.mark.fault("7")
def test_cmyk_jpeg(put):
    red = encoded(Image.new("CMYK", (20, 20), (0, 255, 255, 0)), "JPEG", quality=95)
    image = images.load(put("a.jpg", red))
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image, int) - [255, 0, 0]).max() <= 3


@pytest.mark.fault("7")
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


@pytest.mark.fault("9")
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


@pytest.mark.fault("5")
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


@pytest.mark.fault("5")
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


@pytest.mark.fault("6")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "block", [b"Exif\0\0garbage!!!!", exif(6)[:20], b"Exif\0\0II*\0\xff\xff\xff\x7f"]
)
def test_corrupt_exif_warns_and_goes_on(put, kind, block):
    path = put("a", encoded(picture(), kind, exif=block))
    with pytest.warns(UserWarning, match=r"(?i)corrupt EXIF"):
        image = images.load(path)
    assert image.size == (24, 32)
    with pytest.warns(UserWarning, match="(?i)corrupt EXIF"):
        opened = images.normalise(Image.open(path))
    assert np.array_equal(opened, image)


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


@pytest.mark.fault("13")
def test_mask_of_another_size_names_both(put):
    path = put("m.png", encoded(Image.new("L", (20, 30))))
    with pytest.raises(InputError, match=r"m\.png.*20x30.*30x20"):
        images.load_mask(path, (30, 20))


@pytest.mark.fault("13")
@pytest.mark.parametrize(("level", "side"), [(0, "outside"), (1, "outside"), (255, "inside")])
def test_mask_all_on_one_side(put, level, side):
    path = put("m.png", encoded(Image.new("L", (20, 20), level)))
    with pytest.raises(InputError, match=rf"m\.png: all is {side}"):
        images.load_mask(path, (20, 20))
