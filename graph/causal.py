"""Which programs are causal language models, told by what they compute.

    scores[:, t, :] over a vocabulary for each place t of an integer input; changing the last token changes none before

A masked language model has the same shapes, but sees the token that it scores: its next-token loss means nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from compressor.graph.contract import Batch
from compressor.graph.program import Program

__all__ = ["is_causal", "predicted", "scores_of"]

CLASSES = 16  # fewer are no vocabulary
TOLERANCE = 1e-4


def predicted(program: Program, batch: Batch) -> str | None:
    """The input whose next tokens an output predicts; None where the program is no causal language model."""
    results = list(program.run({spec.name: batch[spec.name] for spec in program.inputs}).values())
    for spec in program.inputs:
        if scores_of(results, batch[spec.name]) is not None and is_causal(program, batch, spec.name):
            return spec.name
    return None


def scores_of(outputs: Sequence[Tensor], tokens: Tensor) -> Tensor | None:
    """The output [samples, places, vocabulary] that could score these tokens."""
    integer = tokens.dtype in (torch.int64, torch.int32) and tokens.dim() == 2 and tokens.shape[1] > 1
    most = int(tokens.max()) if integer and tokens.numel() else 0
    if most < 2:  # a mask
        return None
    fits = (value for value in outputs if value.dim() == 3 and value.shape[:2] == tokens.shape)
    return next((value for value in fits if value.shape[-1] > max(most, CLASSES)), None)


def is_causal(program: Program, batch: Batch, tokens: str) -> bool:
    """Whether the last token of an input changes nothing that is computed for the places before it."""
    given = {spec.name: batch[spec.name] for spec in program.inputs}
    last = given[tokens][:, -1:]
    changed = torch.cat([given[tokens][:, :-1], torch.where(last > 0, last - 1, last + 1)], 1)
    before, after = (
        scores_of(list(program.run({**given, tokens: ids}).values()), given[tokens]) for ids in (given[tokens], changed)
    )
    if before is None or after is None:
        return False
    largest = (before[:, :-1] - after[:, :-1]).abs().max()
    return bool(largest <= TOLERANCE * before.abs().max())
