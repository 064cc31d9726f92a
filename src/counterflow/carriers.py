"""The forms in which pictures are written, and how each carries the settings that made it.

A PNG has a text chunk of the name `KEY`. A JPEG and a WebP have EXIF, whose UserComment holds the
JSON object `{KEY: settings}`, in ASCII. A PNG keeps every pixel; the other two do not, and their
settings say so: `format` and `quality`.
"""

from __future__ import annotations

import io
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, PngImagePlugin

from counterflow.errors import InputError
from counterflow.kinds import Integer

KEY = "counterflow"
COMMENT = b"ASCII\0\0\0" + f'{{"{KEY}": '.encode()
"""How our UserComment begins: EXIF's name of its code, and JSON."""
MAX_TEXT = 1 << 20
"""Most bytes of the settings; Pillow reads no more of a PNG's text."""
QUALITY = 95
"""Of a lossy form, unless another is asked for."""
PERCENT = Integer(1, 100)
Settings = dict[str, Any]


@dataclass(frozen=True)
class Form:
    """A form of file."""

    name: str
    """As Pillow calls it."""
    longest: int
    """Most pixels of a side."""
    room: int = MAX_TEXT
    """Most bytes of the settings."""
    lossy: bool = True


PNG = Form("PNG", 2**31 - 1, lossy=False)
JPEG = Form("JPEG", 65_500, room=65_000)  # EXIF is one segment, whose length has 16 bits
WEBP = Form("WEBP", 16_383)
FORMS = {".png": PNG, ".jpg": JPEG, ".jpeg": JPEG, ".webp": WEBP}
"""By suffix."""


def form_of(path: str | Path) -> Form:
    """The form of an output's suffix; InputError, naming all, for another."""
    form = FORMS.get(Path(path).suffix.lower())
    if form is None:
        *others, last = FORMS
        raise InputError(f"{path}: name the output {', '.join(others)} or {last}")
    return form


def check_fits(path: str | Path, size: tuple[int, int], settings: Settings | None) -> None:
    """Refuse, with InputError, what the form of `path` cannot hold.

    That is a `size`, (width, height), with a side that is too long, and settings that are too many
    or no strict JSON (NaN is not).
    """
    form = form_of(path)
    other = "" if form is PNG else "; name it .png"
    if max(size) > form.longest:
        what = f"a {form.name} has at most {form.longest} pixels a side"
        raise InputError(f"{path}: {what}, this picture {max(size)}{other}")
    try:
        length = len(json.dumps(settings, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: the settings are not JSON ({error}); fix them") from error
    if length > form.room:  # ours must be readable by ourselves
        raise InputError(f"{path}: the settings exceed {form.room} bytes; shorten them{other}")


def encode(
    image: Image.Image, path: str | Path, settings: Settings | None, quality: int = QUALITY
) -> bytes:
    """A picture as the bytes of a file, in the form of the suffix of `path`.

    Raises InputError as `form_of` and `check_fits` do, and for a `quality` not from 1 to 100.
    """
    form = form_of(path)
    if form.lossy and settings is not None:
        settings = settings | {"format": form.name, "quality": PERCENT.check("quality", quality)}
    check_fits(path, image.size, settings)
    return _encoded(image, form, settings, quality)


def after_storing(image: Image.Image, settings: Settings) -> Image.Image:
    """What comes back of a picture from a file with these settings: of a lossy form other pixels.

    Raises InputError for settings of no form or quality that there is.
    """
    form = next((f for f in FORMS.values() if f.name == settings.get("format", PNG.name)), None)
    if form is None:
        raise InputError(f"there is no form of file {settings['format']!r:.40}")
    if not form.lossy:
        return image
    quality = PERCENT.check("quality", settings.get("quality"))
    return Image.open(io.BytesIO(_encoded(image, form, None, quality))).convert("RGB")


def carried(image: Image.Image) -> str | None:
    """The text of the settings that an opened picture carries; None where there is none of ours."""
    if isinstance(text := image.info.get(KEY), str):
        return text
    try:
        comment = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    except Exception:  # a damaged EXIF may raise anything, and is none of ours
        return None
    if not isinstance(comment, bytes) or not comment.startswith(COMMENT):
        return None
    return comment.removeprefix(COMMENT).decode("ascii", "replace").rstrip("\0 ").removesuffix("}")


def _encoded(image: Image.Image, form: Form, settings: Settings | None, quality: int) -> bytes:
    buffer = io.BytesIO()
    if form is PNG:
        info = PngImagePlugin.PngInfo()
        if settings is not None:
            info.add_text(KEY, json.dumps(settings))
        image.save(buffer, form.name, pnginfo=info)
        return buffer.getvalue()
    exif = b"" if settings is None else _exif(COMMENT + json.dumps(settings).encode("ascii") + b"}")
    more = {"subsampling": 0} if form is JPEG else {}  # colours at full resolution
    image.convert("RGB").save(buffer, form.name, exif=exif, quality=quality, **more)
    return buffer.getvalue()


def _exif(comment: bytes) -> bytes:
    """An EXIF block with nothing but a UserComment, of the type that the standard says.

    A directory is the number of its entries, the entries (tag, type, count, value or place), and 0
    for no next one. Pillow would write the comment as BYTE.
    """
    long, undefined = 4, 7
    header = struct.pack(">2sHI", b"MM", 42, 8)
    outer = struct.pack(">HHHIII", 1, ExifTags.IFD.Exif, long, 1, 26, 0)
    inner = (1, ExifTags.Base.UserComment, undefined, len(comment), 44, 0)
    return b"Exif\0\0" + header + outer + struct.pack(">HHHIII", *inner) + comment
