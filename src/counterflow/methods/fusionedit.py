"""FusionEdit: FlowEdit that is set back to the picture, before each step, outside a hard mask.

Lai et al., arXiv 2602.08725. Arithmetic and defaults are those of the published FLUX code; of its
paper the soft fusion, the total variation and the attention are not in that code, and not here. On
the bundled model a third of all edits fail, every expression and nearly every new hat among them: a
mask that is eroded before it is widened loses small changes, and its edge cuts through backgrounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad

from counterflow.controls.tokens import token_side
from counterflow.flow import Latent, Step
from counterflow.kinds import Integer, Number
from counterflow.methods.masked import Masked
from counterflow.methods.masks import Map, closed, dilated, eroded, scaled
from counterflow.methods.run import Run
from counterflow.settings import setting


@dataclass(frozen=True)
class FusionEdit(Masked):
    """`z = M z + (1 - M) * image + ds * (v_t - v_s)`, with FlowEdit's `v_t - v_s` at `z`."""

    name = "fusionedit"
    title = "FusionEdit"
    paper = "Lai et al., arXiv 2602.08725"

    steps: int = setting(28, Integer(1, 1000), "Steps of the grid, N.")
    n_max: int = setting(24, Integer(1, 1000), "How many last steps are made, of N at most.")
    source_guidance: float = setting(1.5, Number(0, 100), "Guidance of the source, and for heat.")
    guidance: float = setting(5.5, Number(0, 100), "Guidance under the target prompt.")
    maps: int = setting(10, Integer(1, 100), "Heat maps that the mask is made of.")
    map_step: int = setting(5, Integer(0, 999), "The step at whose noise level; the last at most.")

    def find(self, run: Run) -> Map:
        """The mean of the heat maps, of tokens, as a region."""
        step = run.grid.step(min(self.map_step, run.grid.steps - 1))
        heat = torch.stack([self.heat(run, step) for _ in range(self.maps)]).mean(0)
        return interpolate(region(heat), run.image.shape[2:])

    def heat(self, run: Run, step: Step) -> Map:
        """Where two velocities at the noised picture differ, by the same guidance."""
        z, g = run.noised(run.noise(), step.sigma), self.source_guidance
        rows = z.expand(len(run.targets), *z.shape[1:])
        v_s, v_t = run.velocities(step, run.of_source(z, g), run.of_target(rows, g))
        energy = (v_t - v_s).square().sum(1, keepdim=True)
        return scaled(avg_pool2d(energy, token_side(run.backbone)).sqrt(), 1e-8)

    def held(self, run: Run, x: Latent, moved: Latent, mask: Map) -> Latent:
        """FlowEdit's move, from where the mask sets it back to."""
        return moved - (1 - mask) * (x - run.image)


def region(heat: Map) -> Map:
    """What is half a deviation above the mean in bytes and at least .2, in one piece with a margin.

    The published code grows regions from there too, by so little that they take in equal values.
    """
    heat = (255 * scaled(heat, 1e-8)).floor().double()
    rim = pad(heat, (1, 1, 1, 1), "reflect" if min(heat.shape[2:]) > 1 else "replicate")
    weights = torch.tensor([1.0, 2, 1]).to(heat)
    smooth = conv2d(rim, torch.outer(weights, weights)[None, None] / 16)
    smooth = (smooth + 0.5).floor()
    mean, spread = smooth.mean((2, 3), True), smooth.std((2, 3), correction=0, keepdim=True)
    seeds = smooth > mean + spread / 2
    highest = smooth == smooth.amax((2, 3), keepdim=True)
    inside = torch.where(seeds.any((2, 3), True), seeds, highest) & (heat >= 51)
    return dilated(dilated(dilated(eroded(closed(inside.float())))))
