"""What is kept of a source lies on the host, and comes to the device where it is used.

The device `meta` stands in for a GPU: torch's fake tensors know where they are, and hold no data.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from counterflow.backbones.base import Site
from counterflow.controls.base import Part, Session
from counterflow.controls.features import HOST, Features
from counterflow.controls.looking import attention_to_text
from counterflow.edit.editor import Editor
from counterflow.flow import Step
from counterflow.toybox.render import render
from tools import SCENE, SOURCE, TARGETS, distance

GPU = torch.device("meta")
HERE = Step(1, 4, 0.7)


def site(name: str = "q") -> Any:
    stream = "text" if name == "text" else "image"
    part: Any = "k" if name in ("text", "k") else "q"
    return Site(stream, part, 0, nn.Identity(), compared=lambda value: value[None])


class Asking:
    """A control that takes the source's features, and says where they were."""

    unconditional = None

    def __init__(self) -> None:
        self.devices: list[torch.device] = []

    def wants(self, *_: Any) -> bool:
        return True

    def apply(self, _site: Site, _step: Step, target: Tensor, source: Tensor, _: Any) -> Tensor:
        self.devices += [target.device, source.device]
        return source.expand_as(target)


@pytest.mark.parametrize("budget", [1 << 20, 0], ids=["kept", "passing"])
def test_features_come_to_the_device_where_they_are_used(budget: int) -> None:
    """Beyond the budget they never leave it."""
    control, features = Asking(), Features(budget)
    session = Session([site()], [control], features)
    parts = [Part("source", slice(0, 1), HERE), Part("target", slice(1, 2), HERE)]
    with FakeTensorMode(), session.running(HERE, parts):
        out = session.on_output(session.sites[0], torch.empty(2, 4, 8, device=GPU))
    held = features.kept or features.passing
    assert [each.device for each in held.values()] == [HOST if budget else GPU]
    assert control.devices == [GPU, GPU] and out.device == GPU
    assert features.size == (4 * 8 * 4 if budget else 0)


def test_velocities_are_kept_on_the_host() -> None:
    features = Features()
    with FakeTensorMode():
        features.answer(("source", 0.5, 1.0, b""), torch.empty(1, 4, 8, 8, device=GPU))
    assert [each.device for each in features.velocities.values()] == [HOST]


def test_attention_is_computed_on_the_device() -> None:
    features = Features()
    sites = [site("q"), site("k"), site("text")]
    with FakeTensorMode():
        for each in sites:
            features.put(HERE, each, torch.empty(1, 4, 8, device=GPU))
        assert {each.device for each in features.kept.values()} == {HOST}
        assert attention_to_text(sites, features, HERE).device == GPU


def test_a_known_velocity_comes_to_the_latents_device(one: Editor) -> None:
    class Kept:
        def __init__(self, value: Tensor) -> None:
            self.value = value

        def to(self, device: torch.device) -> Tensor:
            asked.append(device)
            return self.value

    asked: list[torch.device] = []
    inversion = one.invert(render(SCENE), SOURCE, "flowedit", steps=3)
    first = one.edit(inversion, TARGETS[0])
    known: Any = inversion.features.velocities
    inversion.features.velocities = {name: Kept(value) for name, value in known.items()}
    second = one.edit(inversion, TARGETS[0])
    assert asked and set(asked) == {one.backbone.device}
    assert distance(first.latent, second.latent) <= 1e-5 and second.forwards < first.forwards
