"""Pictures that a model of the bundled world does not know: spoilt ones, and others' drawings."""

from __future__ import annotations

import random
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from counterflow.images import load

SIDE, DRAWN = 128, 512
"""Pixels of a side, and at which drawings are made before they are reduced."""

PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
"""Those that lie in scikit-image's own package."""


def blurred(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Gaussian, of 3 to 8 pixels in 128."""
    return picture.filter(ImageFilter.GaussianBlur(rng.uniform(3, 8)))


def inverted(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Each colour as 255 less itself."""
    return ImageOps.invert(picture)


def noisy(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Under normal noise of 30 to 70 of 255."""
    return _noised(np.asarray(picture, float), rng.uniform(30, 70), rng)


def noise(rng: random.Random) -> Image.Image:
    """Nothing but uniform or normal noise, in squares of 1 to 8 pixels."""
    side = SIDE // rng.choice((1, 1, 2, 4, 8))
    if rng.random() < 0.5:
        drawn = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, (side, side, 3))
        picture = Image.fromarray(drawn.astype(np.uint8))
    else:
        picture = _noised(np.full((side, side, 3), 128.0), 50, rng)
    return picture.resize((SIDE, SIDE), Image.Resampling.NEAREST)


def shapes(rng: random.Random) -> Image.Image:
    """Ellipses, rectangles and triangles over a gradient."""
    share = np.linspace(0, 1, DRAWN)[:, None, None]
    gradient = (1 - share) * np.array(_color(rng)) + share * np.array(_color(rng))
    picture = Image.fromarray(np.broadcast_to(gradient, (DRAWN, DRAWN, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.randint(2, 9)):
        x, y = (rng.uniform(0, DRAWN) for _ in range(2))
        w, h = (rng.uniform(0.05, 0.4) * DRAWN for _ in range(2))
        kind = rng.randrange(3)
        if kind == 2:
            corners = [(x + rng.uniform(-w, w), y + rng.uniform(-h, h)) for _ in range(3)]
            draw.polygon(corners, fill=_color(rng))
        else:
            box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
            (draw.ellipse if kind else draw.rectangle)(box, fill=_color(rng))
    return picture.resize((SIDE, SIDE), Image.Resampling.BOX)


def cartoon(rng: random.Random) -> Image.Image:
    """A house, a person of lines and the sun, in flat colours."""
    picture = Image.new("RGB", (DRAWN, DRAWN), _color(rng))
    draw = ImageDraw.Draw(picture)
    ground = rng.uniform(0.5, 0.8) * DRAWN
    draw.rectangle((0, ground, DRAWN, DRAWN), fill=_color(rng))
    x, w, h = rng.uniform(0.1, 0.5) * DRAWN, rng.uniform(100, 200), rng.uniform(100, 200)
    draw.rectangle((x, ground - h, x + w, ground), _color(rng), "black", 4)
    roof = [(x - 10, ground - h), (x + w / 2, ground - 1.6 * h), (x + w + 10, ground - h)]
    draw.polygon(roof, _color(rng), "black")
    draw.rectangle((x + 0.4 * w, ground - h / 2, x + 0.6 * w, ground), fill=_color(rng))
    x, r = rng.uniform(0.6, 0.9) * DRAWN, rng.uniform(20, 45)
    draw.ellipse((x - r, ground - 6 * r, x + r, ground - 4 * r), _color(rng), "black", 3)
    limbs = ((0, -4, 0, -2), (0, -3.5, -1.2, -2.5), (0, -3.5, 1.2, -2.5), (0, -2, -1, 0))
    for a, b, c, d in (*limbs, (0, -2, 1, 0)):
        ends = (x + a * r, ground + b * r, x + c * r, ground + d * r)
        draw.line(ends, fill=_color(rng), width=8)
    x, r = rng.uniform(0.1, 0.9) * DRAWN, rng.uniform(25, 50)
    draw.ellipse((x - r, 0.15 * DRAWN - r, x + r, 0.15 * DRAWN + r), fill=_color(rng))
    return picture.resize((SIDE, SIDE), Image.Resampling.BOX)


def photographs() -> list[Path]:
    """scikit-image's photographs that are on this machine; none without the package."""
    package = find_spec("skimage")
    if package is None or package.origin is None:
        return []
    folder = Path(package.origin).parent / "data"
    return [path for name in PHOTOGRAPHS if (path := folder / name).is_file()]


def photograph(path: Path, rng: random.Random) -> Image.Image:
    """A square part of a photograph, of half to all of its shorter side."""
    picture = load(path)
    side = int(min(picture.size) * rng.uniform(0.5, 1))
    x, y = (rng.randint(0, length - side) for length in picture.size)
    return picture.crop((x, y, x + side, y + side)).resize((SIDE, SIDE), Image.Resampling.BOX)


SPOILT: dict[str, Callable[[Image.Image, random.Random], Image.Image]] = {
    "blurred": blurred,
    "inverted colours": inverted,
    "noisy": noisy,
}
FOREIGN: dict[str, Callable[[random.Random], Image.Image]] = {
    "noise": noise,
    "shapes": shapes,
    "cartoon": cartoon,
}


def _color(rng: random.Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


def _noised(pixels: np.ndarray, spread: float, rng: random.Random) -> Image.Image:
    drawn = np.random.default_rng(rng.getrandbits(32)).normal(pixels, spread)
    return Image.fromarray(np.clip(drawn, 0, 255).astype(np.uint8))
