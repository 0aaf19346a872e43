"""Programs to time: a module as it is or as our passes leave it.

    module ─ capture ─ the pass that makes the format ─▶ Program

What is measured has to be what the compiler makes, so the same passes and the same exporter are used.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.cost import Roofline
from compressor.passes.fold import Fold
from compressor.passes.prune import Prune
from compressor.passes.quantize import Quantize

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compressor.graph.contract import Pass
    from compressor.graph.program import Program
    from compressor.targets.target import Target

__all__ = ["How", "captured", "compressed"]

How = Literal["plain", "int8", "int4", "int2", "pruned"]
_BLOCKS = (32, 64, 128, 128)  # drawn for every layer: each size has its own kernel
_SAMPLES = 2


def captured(
    module: nn.Module, args: tuple[Tensor, ...], kwargs: Mapping[str, Tensor], how: How, seed: int, target: Target
) -> Program:
    """The module's program after the pass `how` names. Raises CompressError where capture or the pass fails."""
    return compressed(capture(module, args, dict(kwargs)).program, how, seed, target)


def compressed(program: Program, how: How, seed: int, target: Target) -> Program:
    """A captured program as the pass `how` names leaves it. Raises CompressError where the pass fails."""
    batch = {spec.name: value for spec, value in zip(program.inputs, program.example, strict=True)}
    context = Context(target, latency=Roofline(), calibration=[batch] * _SAMPLES, synthetic=False, seed=seed)
    for step in _steps(program, how, context, random.Random(seed)):
        program = step.run(program, context).program
    return program


def _steps(program: Program, how: How, context: Context, draw: random.Random) -> list[Pass]:
    """None for "plain"; before any other, layers are folded, as the compiler does."""
    if how == "plain":
        return []
    if how == "pruned":
        amount, multiple = draw.choice((0.25, 0.4, 0.5)), draw.choice((1, 1, 4))
        cut = Prune(amount=amount, score="magnitude", multiple=multiple, reconstruct=False, samples=_SAMPLES)
        return [Fold(), cut]
    if how == "int8":
        return [Fold(), Quantize("int8", mode="static", calibrator="minmax", samples=_SAMPLES, max_error=1e9)]
    found = Quantize(how).run(Fold().run(program, context).program, context).settings
    return [
        Fold(),
        Quantize(how, sites={site: {**each, "block": draw.choice(_BLOCKS)} for site, each in found.items()}),
    ]
