"""Tokens that an artifact generates with its cache, checked against PyTorch.

    artifact:   t₁ … t₃₂, each the highest score behind a text and the tokens so far, through the key–value cache
    PyTorch:    one run over text and t₁ … t₃₂ at once, without a cache; sᵢ its scores where tᵢ was chosen
    equal       share of i with tᵢ = argmax sᵢ                error      ‖artifact's scores − s‖ / ‖s‖

Where all are equal PyTorch's own greedy generation is the very same, by induction; behind the first that differs
PyTorch is asked about the artifact's text. Held to its own program the artifact may choose another token only where
PyTorch's scores of the two are closer than the artifact's error can be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compressor.decoding import places_of
from compressor.devices.runner.decode import Decoder, chosen, generated
from compressor.errors import MismatchError
from compressor.export.agreement import is_rounding
from compressor.export.jitter import jitter
from compressor.graph.contract import Batch
from compressor.graph.kv_cache import answers, length_of, of_length
from compressor.graph.program import Program
from compressor.report.model import Decoding
from compressor.scores import token_input
from compressor.verify import relative_error

__all__ = ["TOKENS", "Interface", "decoding", "interface_of"]

TOKENS = 32
_PROMPT = 16
_TEXTS = 4
_SPREAD = 4.0  # a single score may be off by so many times the relative RMS error of all: near-ties are told by that
Run = Callable[[Batch], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Interface:
    """Where tokens go in and scores come out, and how many of them there are."""

    tokens: str
    scores: str
    vocabulary: int


def interface_of(program: Program) -> Interface:
    """Of a program with a key–value cache."""
    scores = next(spec for spec in answers(program.outputs) if len(spec.shape) == 3)
    tokens = token_input(program, scores) or next(spec.name for spec in program.inputs)
    vocabulary = scores.shape[-1]
    return Interface(tokens, scores.name, vocabulary if isinstance(vocabulary, int) else 0)


def decoding(
    program: Program, original: Run, run: Run, batch: Batch, tolerance: float, *, read: int, past: int
) -> Decoding:  # fmt: skip
    """Generate with `run`, the artifact of `program`, behind the batch's texts. `original` maps a text to its scores;
    `read` and `past` are what was timed.

    Raises MismatchError where the artifact chooses tokens that its own program would not, beyond ties.
    """
    names, few = interface_of(program), {name: value[:_TEXTS] for name, value in batch.items()}
    whole = places_of(program, few, _PROMPT + TOKENS)
    prompt = of_length(program.inputs, few, min(_PROMPT, whole // 2))
    length = length_of(program.inputs, prompt)
    ids, scores = _generate(program, run, prompt, names, whole - length)
    text = _lengthened(program, prompt, ids, names.tokens)
    own = program.run(text)[names.scores][:, length - 1 : -1]
    theirs = original(text)[names.scores][:, length - 1 : -1]
    if is_rounding(program) and relative_error(scores, own) > tolerance:  # what sums in another order do to this text
        tolerance = max(tolerance, jitter(program, [text]).relative_rms)
    _hold(ids, scores, own, tolerance)
    figures = _equal(ids, theirs), relative_error(scores, theirs), _equal(ids, own)
    return Decoding(read, past, ids.shape[1], ids.shape[0], *figures)


def _generate(program: Program, run: Run, prompt: Batch, names: Interface, count: int) -> tuple[Tensor, Tensor]:
    """Ids [n, count], and the scores that each was chosen by [n, count, V]."""
    seen: list[Any] = []

    def choose(scores: Any) -> Any:
        seen.append(np.array(scores, np.float32))
        return chosen(scores)

    def ran(feed: Mapping[str, Any]) -> dict[str, Any]:
        return {n: v.numpy() for n, v in run({n: torch.from_numpy(np.asarray(v)) for n, v in feed.items()}).items()}

    decoder = Decoder(ran, [spec.to_json() for spec in program.inputs], names.tokens, names.scores)
    given = {name: value.numpy() for name, value in prompt.items()}
    ids = np.stack(list(generated(decoder, given, count, choose)), 1)
    return torch.from_numpy(ids), torch.from_numpy(np.stack(seen, 1))


def _lengthened(program: Program, prompt: Batch, ids: Tensor, tokens: str) -> Batch:
    """Text and generated tokens as one text, what goes with them carried on as the decoder does."""
    whole = torch.cat([prompt[tokens], ids.to(prompt[tokens].dtype)], 1)
    decoder = Decoder(
        lambda feed: {"scores": np.zeros((1, 1, 1))}, [s.to_json() for s in program.inputs], tokens, "scores"
    )
    decoder.read({name: value.numpy() for name, value in prompt.items()})
    parts = [dict(decoder.last)]
    for column in ids.T:
        decoder.step(column.numpy())
        parts.append(dict(decoder.last))
    found: dict[str, Tensor] = {}
    for spec in program.inputs:
        if spec.name in parts[0]:
            grows = "sequence" in spec.shape
            arrays = [part[spec.name] for part in parts]
            found[spec.name] = torch.from_numpy(np.concatenate(arrays, 1) if grows else arrays[-1])
    return {**found, tokens: whole}


def _equal(ids: Tensor, scores: Tensor) -> float:
    return float((scores.argmax(-1) == ids).float().mean())


def _hold(ids: Tensor, ours: Tensor, own: Tensor, tolerance: float) -> None:
    """Raises MismatchError where scores are off, or where a token was chosen that is no near-tie in PyTorch."""
    if not bool(own.isfinite().all() and ours.isfinite().all()):
        raise MismatchError(
            "no token can be chosen: scores are infinite or no numbers, "
            + ("in PyTorch already" if not bool(own.isfinite().all()) else "in the artifact alone"),
            way_out="Nothing was written. Check the weights; --no-kv-cache makes the graph without a cache.",
        )
    error = relative_error(ours, own)
    lead = own.amax(-1) - own.gather(-1, ids[..., None])[..., 0]
    allowed = _SPREAD * max(tolerance, error) * float(own.double().square().mean().sqrt())
    if error <= tolerance and bool((lead <= allowed).all()):
        return
    row, place = (int(index) for index in (lead == lead.max()).nonzero()[0])
    raise MismatchError(
        f"generating with the cache disagrees with PyTorch: scores differ by {error:.1e} (allowed {tolerance:.0e}), "
        f"and token {place + 1} of text {row + 1} is {float(lead.max()):.2g} below the best",
        way_out="Nothing was written. --no-kv-cache makes the graph without a cache; please report it with the model.",
    )
