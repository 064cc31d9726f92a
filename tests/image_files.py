"""Picture files, good and bad, made by hand."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from counterflow import images
from counterflow.errors import InputError

ORIENTATION = 0x0112
quick = settings(max_examples=25, deadline=None)
sides = st.integers(1, 40)


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
