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

__all__ = ["predicted", "scores_of"]

CLASSES = 16  # fewer are no vocabulary
TOLERANCE = 1e-4


def predicted(program: Program, batch: Batch) -> str | None:
    """The input whose next tokens an output predicts; None where the program is no causal language model."""
    given = {spec.name: batch[spec.name] for spec in program.inputs}
    results = list(program.run(given).values())
    for name, tokens in given.items():
        scores = scores_of(results, tokens)
        if scores is not None and _is_causal(program, given, name, scores):
            return name
    return None


def scores_of(outputs: Sequence[Tensor], tokens: Tensor) -> Tensor | None:
    """The output [samples, places, vocabulary] that could score these tokens."""
    integer = tokens.dtype in (torch.int64, torch.int32) and tokens.dim() == 2 and tokens.shape[1] > 1
    most = int(tokens.max()) if integer and tokens.numel() else 0
    if most < 2:  # a mask
        return None
    fits = (value for value in outputs if value.dim() == 3 and value.shape[:2] == tokens.shape)
    return next((value for value in fits if value.shape[-1] > max(most, CLASSES)), None)


def _is_causal(program: Program, given: Batch, name: str, before: Tensor) -> bool:
    """Whether the last token of an input changes none of the scores of the places before it."""
    tokens = given[name]
    last = tokens[:, -1:]
    changed = torch.cat([tokens[:, :-1], torch.where(last > 0, last - 1, last + 1)], 1)
    after = scores_of(list(program.run({**given, name: changed}).values()), tokens)
    if after is None:
        return False
    largest = (before[:, :-1] - after[:, :-1]).abs().max()
    return bool(largest <= TOLERANCE * before.abs().max())
