"""The paper's comparisons and ablations and ours, one small file each; `EXPERIMENTS` lists them."""

from counterflow.bench.experiments import (
    attention,
    comparison,
    compensation,
    ddim,
    extrapolated,
    guidance,
    iterations,
    ratio,
    steps,
    text,
)
from counterflow.bench.experiments.base import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    each.name: each
    for each in (
        iterations.EXPERIMENT,
        extrapolated.EXPERIMENT,
        compensation.EXPERIMENT,
        text.EXPERIMENT,
        ratio.EXPERIMENT,
        attention.EXPERIMENT,
        ddim.EXPERIMENT,
        guidance.EXPERIMENT,
        steps.EXPERIMENT,
        comparison.EXPERIMENT,
    )
}
"""By name, in the order of the page."""
