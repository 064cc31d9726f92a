"""Counterflow's methods as a pipeline and as a modular block of diffusers (docs/diffusers.md)."""

from counterflow.plugins.diffusers.blocks import edit_blocks, write_blocks
from counterflow.plugins.diffusers.pipeline import CounterflowOutput, CounterflowPipeline

__all__ = ["CounterflowOutput", "CounterflowPipeline", "edit_blocks", "write_blocks"]
