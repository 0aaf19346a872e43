"""Checks where widths are learned on the way, on the byte-level GPT: figures are perplexities on held-out pages."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch

from compressor.graph.contract import Progress
from compressor.graph.program import Program
from compressor.passes.prune import Prune

from .claim import Claim, Figures, Goal
from .language import LONG, SAMPLES, context, recovered, subject

__all__ = ["CLAIMS"]

MULTIPLE = 16  # of widths

# -------------------------------------------------------------------------------------------------- Sheared LLaMA


def masked(seed: int) -> Figures:
    """Two thirds of the steps learn masks, the last third recovers."""
    pruned = Prune(
        amount=0.5, how="masks", steps=2 * LONG // 3, between=f"{LONG // 3}steps", multiple=MULTIPLE, samples=SAMPLES,
        reconstruct=False,
    )  # fmt: skip
    smaller = pruned.run(subject().program, context(seed)).program
    return {"after": subject().metric(smaller), "asked": float(_shapes(smaller) == _shapes(random_slice(seed)))}


@functools.cache
def random_slice(seed: int) -> Program:
    """The shape that is asked for, its units drawn."""
    pruned = Prune(amount=0.5, score="random", multiple=MULTIPLE, samples=SAMPLES, reconstruct=False)
    return pruned.run(subject().program, context(seed)).program


def sliced_at_random(seed: int) -> Figures:
    """All steps recover."""
    return {"after": recovered(random_slice(seed), seed, LONG)}


def _shapes(program: Program) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in program.tensors().items()}


SHEARED = Claim(
    "sheared-llama", "GPT of 1.9M to half its multiply–accumulates: 80 steps of masks and 40 of recovery, or 120 of it",
    {"masks": masked, "random": sliced_at_random},
    [
        Goal("learned masks against a random slice of the same shape", "masks.after", "random.after", "ratio", 0.95),
        Goal("every tensor has the shape that was asked for", "masks.asked", "1", "points", 0.0),
    ],
)  # fmt: skip


# --------------------------------------------------------------------------------------------------- EfficientLLM


class Counting(Progress):
    """Counts the training steps that a pass tells."""

    def __init__(self) -> None:
        self.steps = 0

    def figures(self, name: str, share: float, values: Mapping[str, float]) -> None:
        self.steps += name == "prune"


@functools.cache
def _gradual(seed: int) -> tuple[Program, int]:
    counting = Counting()
    pruned = Prune(amount=0.5, how="gradual", between=f"{LONG // 2}steps", multiple=MULTIPLE, samples=SAMPLES)
    smaller = pruned.run(subject().program, context(seed, progress=counting)).program
    return smaller, counting.steps


def gradually(seed: int) -> Figures:
    """A rung goes every step; then half of the usual recovery."""
    smaller, steps = _gradual(seed)
    widths = {len(bias) for name, bias in smaller.tensors().items() if name.endswith("mlp.0.bias")}
    return {"after": subject().metric(smaller), "steps": float(steps + LONG // 2), "widths": float(len(widths))}


def at_once(seed: int) -> Figures:
    """Taylor's choice in one cut, global like the other arm's; all of its steps recover."""
    _, steps = _gradual(seed)
    pruned = Prune(amount=0.5, score="taylor-element1", where="global", multiple=MULTIPLE, samples=SAMPLES)
    smaller = pruned.run(subject().program, context(seed)).program
    return {"after": recovered(smaller, seed, steps=steps + LONG // 2), "steps": float(steps + LONG // 2)}


EFFICIENT = Claim(
    "efficientllm", "GPT of 1.9M to half its multiply–accumulates; a rung of 16 a step, then 60 steps",
    {"gradual": gradually, "one-shot": at_once},
    [
        Goal("gradual removal against one cut with the same steps", "gradual.after", "one-shot.after", "ratio", 0.97),
        Goal("different widths of the MLPs, beyond the first", "gradual.widths", "1", "points", 1.0),
    ],
)  # fmt: skip

CLAIMS = (SHEARED, EFFICIENT)
