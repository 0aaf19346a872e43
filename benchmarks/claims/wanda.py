"""Wanda against magnitude, without any training: half of the weights zero, and 2 of every 4.

    minilm   drop = 1 − mean cosine of an embedding with the dense model's        gpt   perplexity

(On Pruning State-Space LLMs; Wanda, arXiv:2306.11695.) A seed draws the calibration data.
"""

from __future__ import annotations

import functools
from typing import Any

from subjects import SUBJECTS, Subject

from compressor.graph.contract import Context
from compressor.passes.sparsify import Sparsify
from compressor.targets.loader import load_target

from .claim import Claim, Figures, Goal

__all__ = ["CLAIMS"]

SAMPLES, TESTS = 128, 4096
PATTERNS = {"half": "0.5", "2of4": "2of4"}
METHODS: dict[str, dict[str, Any]] = {
    "random": {"score": "random", "update": False},
    "magnitude": {"score": "magnitude", "update": False},
    "wanda": {"score": "wanda", "update": False},
    "updated": {"score": "wanda", "update": True},
}


@functools.cache
def subject(name: str) -> Subject:
    return SUBJECTS[name](TESTS)


def sparse(name: str, pattern: str, method: str, seed: int) -> Figures:
    """The figures of a program with this share, or N of M, of its weights set to zero."""
    one = subject(name)
    context = Context(load_target("x86-64"), calibration=one.batches(SAMPLES, seed), synthetic=False, seed=seed)
    figures = one.figures(
        Sparsify(PATTERNS[pattern], samples=SAMPLES, **METHODS[method]).run(one.program, context).program
    )
    return {**figures, "drop": 1 - figures["cosine"]} if "cosine" in figures else figures


WANDA = Claim(
    "wanda", "all-MiniLM-L6-v2 and the GPT of 1.9M, calibrated on 128 samples; no training",
    {
        f"{name}-{pattern}-{method}": functools.partial(sparse, name, pattern, method)
        for name in ("minilm", "gpt") for pattern in PATTERNS for method in METHODS
    },
    [
        *(
            Goal(f"MiniLM, {pattern}: Wanda's drop against magnitude's", f"minilm-{pattern}-wanda.drop",
                 f"minilm-{pattern}-magnitude.drop", "ratio", 0.7)
            for pattern in PATTERNS
        ),
        Goal("GPT, half: Wanda's perplexity against magnitude's over each tensor", "gpt-half-wanda.perplexity",
             "gpt-half-magnitude.perplexity", "ratio", 0.9),
    ],
)  # fmt: skip

CLAIMS = (WANDA,)
