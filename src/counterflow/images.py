"""One hardened way in and out for pictures, and the settings that a file of ours carries.

Conventions. A size is `(width, height)` in pixels, as in PIL; an array is `[3, height, width]`,
float32, sRGB, -1..1; a mask is `[height, width]`, bool, true inside. `load` returns what a viewer
would show: upright, sRGB, transparency flattened on white. A mask is data, not colour: its profile
is ignored and its transparency is black, that is, outside.

The model's size. A picture is resized by Lanczos to `fit(size, area, multiple)`, edited there, and
the result is resized back, so that the output always has the input's own size.
"""

import contextlib
import io
import math
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from counterflow import colours
from counterflow.carriers import KEY, MAX_TEXT, QUALITY, carried, encode
from counterflow.errors import CounterflowError, InputError, NumericsError, why
from counterflow.outside import parse_json
from counterflow.writing import save_bytes_atomically

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
MAX_PIXELS = 64_000_000
MAX_METADATA = MAX_TEXT  # bytes in one profile, EXIF block or comment
MIN_SIDE = 16
MAX_ASPECT = 8
SETTINGS_KEY = KEY

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load(source: str | Path | bytes) -> Image.Image:
    """Read a picture, at a path or as a file's bytes, as upright sRGB of mode RGB, no metadata.

    An embedded profile is converted to sRGB (CMYK without one by Pillow's plain formula), 16-bit
    grey is scaled, transparency is flattened on white, and an animation gives its first frame.
    Warns (UserWarning) of an animation, corrupt EXIF and a broken profile, which are ignored.

    Raises InputError for anything but a sound file in one of `FORMATS`, and beyond `MAX_PIXELS`,
    `MIN_SIDE`, `MAX_ASPECT` (to 1) or `MAX_METADATA`.
    """
    image, name = _read(source), _name(source)
    with _decoding(name):
        return colours.flatten(image, "white", name, managed=True)


def normalise(image: object) -> Image.Image:
    """Make an opened picture what `load` would: upright, sRGB, flattened on white, mode RGB.

    Warns (UserWarning) of corrupt EXIF. Raises InputError for what is no PIL image, and as `load`
    does for one of its size or one that cannot be decoded.
    """
    if not isinstance(image, Image.Image):
        kind = type(image).__name__
        raise InputError(f"the picture is of type {kind}; give a PIL image or a file's path")
    name = "the picture"
    with _decoding(name):
        _check_shape(image.size, name)
        image.load()
        return colours.flatten(_upright(image, name), "white", name, managed=True)


def load_mask(path: str | Path, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Read the mask at `path` as bool `[height, width]`: any grey of 128 or more is inside.

    `size` is the upright `(width, height)` of the picture it belongs to. The mask is turned
    upright by its own EXIF orientation, as the picture is; transparency counts as outside.

    Raises InputError as `load` does, and for another size or a mask wholly inside or outside.
    """
    image = _read(path)
    if image.size != tuple(size):
        sizes = f"the mask is {_by(image.size)} but the picture is {_by(size)}"
        raise InputError(f"{path}: {sizes}; draw it over the upright picture, at its size")
    with _decoding(path):
        grey = colours.flatten(image, "black", path, managed=False).convert("L")
    mask: NDArray[np.bool_] = np.asarray(grey) >= 128
    if mask.all() or not mask.any():
        where = "inside" if mask.any() else "outside"
        raise InputError(f"{path}: all is {where} the mask; draw the inside at 255, the rest at 0")
    return mask


def fit(size: tuple[int, int], area: int, multiple: int) -> tuple[int, int]:
    """Return the `(width, height)` at which the model works on a picture of `size`.

    It has the same aspect ratio and about `area` pixels, each side rounded to the nearest multiple
    of `multiple` and at least `multiple`; a size that fits already is kept. The rounding bends the
    aspect ratio a little, which resizing the result back to `size` undoes.

    Raises InputError for a side, `area` or `multiple` under 1.
    """
    width, height = size
    if min(width, height, area, multiple) < 1:
        raise InputError(f"size {_by(size)}, area {area} and multiple {multiple} must be 1 or more")
    scale = math.sqrt(area / (width * height)) / multiple
    return max(1, round(width * scale)) * multiple, max(1, round(height * scale)) * multiple


def fits(size: tuple[int, int], worked: tuple[int, int], multiple: int) -> bool:
    """Whether a picture of `size` is worked on at `worked` for some area, as `fit` rounds it."""
    scales = [
        ((0 if cells == 1 else cells - 0.5) / side, (cells + 0.5) / side)
        for side, cells in (
            (side, long / multiple) for side, long in zip(size, worked, strict=True)
        )
    ]
    return max(low for low, _ in scales) <= min(high for _, high in scales) + 1e-12


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize to `size` by Lanczos; the same image when it has that size already."""
    return image if image.size == tuple(size) else image.resize(size, Image.Resampling.LANCZOS)


def to_array(image: Image.Image, size: tuple[int, int] | None = None) -> NDArray[np.float32]:
    """Return `image`, resized to `size` if given, as float32 `[3, height, width]` in -1..1."""
    image = image.convert("RGB")
    pixels = np.asarray(image if size is None else resize(image, size), dtype=np.float32)
    return np.ascontiguousarray((pixels / 127.5 - 1).transpose(2, 0, 1))


def from_array(array: NDArray[np.floating[Any]]) -> Image.Image:
    """Return the RGB image of a `[3, height, width]` array, clipped to -1..1 and rounded.

    Raises NumericsError for NaN or infinity, so that no black picture comes of a failed edit.
    """
    values = np.asarray(array, dtype=np.float32)
    if not np.isfinite(values).all():
        raise NumericsError("the picture holds NaN or infinite values; try float32 or more steps")
    levels = np.rint((values.clip(-1, 1) + 1) * 127.5).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))


def save(
    image: Image.Image,
    path: str | Path,
    settings: dict[str, Any] | None = None,
    quality: int = QUALITY,
) -> None:
    """Write `image` to `path`, atomically, with `settings` inside, in the form of its suffix.

    That is .png, or with loss .jpg, .jpeg or .webp of a `quality` from 1 to 100, which their
    settings tell. Raises InputError for another suffix, a place that cannot be written, and what
    the form cannot hold (`counterflow.carriers.check_fits`).
    """
    save_bytes_atomically(path, encode(image, path, settings, quality))


def save_png(image: Image.Image, path: str | Path, settings: dict[str, Any] | None = None) -> None:
    """Write `image` as `save` does, to a name in .png; InputError for another."""
    if Path(path).suffix.lower() != ".png":
        raise InputError(f"{path}: name the output .png, the form that keeps every pixel")
    save(image, path, settings)


def read_settings(source: str | Path | bytes) -> dict[str, Any]:
    """Return the settings that `save` stored in a picture, given as a path or as a file's bytes.

    Raises InputError as `load` does, but of any shape, and where there is no JSON object.
    """
    text, name = carried(_read(source, any_shape=True)), _name(source)
    if text is None:
        raise InputError(f"{name}: carries no settings; give a picture that Counterflow saved")
    with contextlib.suppress(TypeError, InputError):
        settings = parse_json(text)
        if isinstance(settings, dict):
            return settings
    raise InputError(f"{name}: its settings are not a JSON object; give another picture")


def _name(source: str | Path | bytes) -> str | Path:
    """How messages call a picture."""
    return "the picture" if isinstance(source, bytes) else source


def _opened(source: str | Path | bytes) -> io.BufferedReader | io.BytesIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    _check_file(Path(source))
    return Path(source).open("rb")


def _read(source: str | Path | bytes, any_shape: bool = False) -> Image.Image:
    """Decode the file, upright, in its own mode and with its metadata in `info`."""
    path = _name(source)
    with _decoding(path), _opened(source) as file, Image.open(file, formats=FORMATS) as image:
        _check_shape(image.size, path, any_shape)  # by the header: nothing is decoded yet
        # A telephone's MPO is one picture with its previews and depth, not an animation.
        if image.format != "MPO" and getattr(image, "is_animated", False):
            warnings.warn(f"{path}: several frames; only the first is used", stacklevel=3)
        image.load()
        for key, value in image.info.items():  # complete only now: PNG may end with text
            if isinstance(value, str | bytes) and len(value) > MAX_METADATA:
                raise InputError(f"{path}: {key!r:.40} exceeds {MAX_METADATA} bytes; remove it")
        return _upright(image, path)


def _check_shape(size: tuple[int, int], path: str | Path, any_shape: bool = False) -> None:
    """Refuse a picture that is too large or, unless it may have any shape, too small or long."""
    short, long = sorted(size)
    if short * long > MAX_PIXELS:
        raise Image.DecompressionBombError
    if not any_shape and (short < MIN_SIDE or long > MAX_ASPECT * short):
        sides = f"sides of {MIN_SIDE} pixels or more and at most {MAX_ASPECT}:1"
        raise InputError(f"{path}: is {_by(size)}; crop or enlarge it to {sides}")


def _check_file(path: Path) -> None:
    """Refuse what is not a file with bytes in it; before opening, since a FIFO would hang."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{path}: cannot be read ({why(error)}); check the path") from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: is a folder, a pipe or a device; give a picture file")
    if status.st_size == 0:
        raise InputError(f"{path}: is empty; give a picture file")


@contextlib.contextmanager
def _decoding(path: str | Path) -> Iterator[None]:
    """Name the file in whatever a decoder raises, which on a hostile file is any exception."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{path}: has over {MAX_PIXELS} pixels; make it smaller") from error
    except (CounterflowError, Warning):  # a warning, where the caller made them errors
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: is damaged or not one of {', '.join(FORMATS)}") from error
    except Exception as error:
        raise InputError(f"{path}: cannot be read ({why(error)}); save it again") from error


def _upright(image: Image.Image, path: str | Path) -> Image.Image:
    """A copy, turned as the EXIF orientation says."""
    turn = _TURNS.get(_orientation(image, path))
    return image.copy() if turn is None else image.transpose(turn)


def _orientation(image: Image.Image, path: str | Path) -> int:
    """Return the EXIF orientation, 1 when it is absent or cannot be read (with a warning)."""
    # In a fresh image, for JPEG's decoder hides that it failed. TIFF is turned by Pillow itself.
    probe = Image.new("L", (1, 1))
    probe.info = image.info
    try:
        return int(probe.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception as error:
        warnings.warn(f"{path}: corrupt EXIF is ignored ({why(error)})", stacklevel=5)
        return 1


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
