"""Any mode and profile of a picture to plain RGB: 16-bit grey, CMYK, transparency, ICC profiles."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from counterflow.errors import why


def flatten(image: Image.Image, background: str, path: str | Path, managed: bool) -> Image.Image:
    """Return RGB over `background`, by way of the embedded profile if `managed`."""
    info = image.info
    if image.mode[0] in "IF":
        image = _grey16(image)
    colours, alpha = image, None
    mode = {"1": "L", "L": "L", "LA": "L", "CMYK": "CMYK"}.get(image.mode, "RGB")
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        alpha = colours.getchannel("A")
    colours = colours.convert(mode)
    if managed and "icc_profile" in info:
        colours = _to_srgb(colours, info["icc_profile"], path)
    colours = colours.convert("RGB")
    if alpha is not None:
        colours = Image.composite(colours, Image.new("RGB", image.size, background), alpha)
    colours.info = {}  # else a saved copy would carry the profile and transparency again
    return colours


def _grey16(image: Image.Image) -> Image.Image:
    """Scale 0..65535 to 0..255, rounded; Pillow would clip. A transparent grey becomes alpha."""
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError("32-bit grey has no agreed white; use 8 or 16 bits")
    grey = Image.fromarray(((values.astype(np.int32) + 128) // 257).astype(np.uint8))
    if "transparency" not in image.info:
        return grey
    alpha = np.where(values == image.info["transparency"], 0, 255).astype(np.uint8)
    return Image.merge("LA", (grey, Image.fromarray(alpha)))


def _to_srgb(image: Image.Image, profile: bytes | None, path: str | Path) -> Image.Image:
    """Convert by the embedded profile; one that is broken, or None, warns and is ignored."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
        if image.mode == "L" and source.profile.xcolor_space.strip() == "RGB":
            image = image.convert("RGB")  # common, and harmless: grey is R = G = B
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, source, target, outputMode="RGB") or image
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError) as error:
        warnings.warn(f"{path}: a broken profile is ignored ({why(error)})", stacklevel=4)
        return image
