"""A sum of losses: L = Σ w_i L_i + Σ_f α_f L_f

α_f = L_logit / L_f, without gradient: a feature loss that was given no weight counts as much as what compares the
outputs with the teacher's, whatever its scale. (Muralidharan et al., 2024, Minitron, arXiv:2407.14679.)

    0.5*soft_ce+0.3*last_cosine+0.2*task     names joined by +, each with its weight or without
    task+1*bound?                            the bound only where layers are factorized
    auto, distilbert, foldgpt, minitron, ofa, pela, blockwise     presets
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from compressor.errors import RecipeError, did_you_mean
from compressor.passes.recover.plan import Plan, Seen
from compressor.passes.recover.ranks import Ranks
from compressor.passes.recover.terms import FEATURES, TERMS, Sample, Term, build_term

__all__ = ["BOUND", "LOCAL", "PRESETS", "Objective", "Part", "judging", "parse_losses", "resolve"]

BOUND = "bound"  # on the weights of factorized layers: asks for no activations
LOCAL = "local"  # no loss, but where blocks get their inputs: from the teacher
PRESETS = {
    "distilbert": "0.5*soft_ce+0.3*last_cosine+0.2*task",
    "minitron": "output+task+hidden",
    "ofa": "output+1*branches",
    "pela": "task+1*hidden+1*bound?",
    "foldgpt": "output+last",
    "blockwise": "local+hidden+output",
}
_LARGEST = 1e4  # of α: where features agree already they are not blown up


@dataclass(frozen=True)
class Part:
    """One loss with its weight; None leaves the weight to the balance. An `optional` one goes where nothing fits it."""

    name: str
    weight: float | None
    optional: bool = False

    def __str__(self) -> str:
        return self.name if self.weight is None else f"{self.weight:g}*{self.name}"


def parse_losses(text: str) -> tuple[Part, ...]:
    """Reads `0.5*kl+hidden`, or a preset's name (`auto` is left to `resolve`). Raises RecipeError."""
    if text == "auto":
        return ()
    parts = []
    for piece in PRESETS.get(text, text).split("+"):
        match = re.fullmatch(r"\s*(?:(\d+(?:\.\d+)?|\.\d+)\s*\*\s*)?([a-z_]+)(\?)?\s*", piece)
        name = match[2] if match else piece
        if match is None or name not in (*TERMS, LOCAL):
            raise RecipeError(
                f"there is no loss called {name.strip()!r}", where="recover: losses",
                way_out=did_you_mean(name, [*TERMS, LOCAL, *PRESETS, "auto"]),
            )  # fmt: skip
        parts.append(Part(name, float(match[1]) if match[1] else None, optional=bool(match[3])))
    if all(part.name == LOCAL or part.weight == 0 for part in parts):
        raise RecipeError(
            f"{text!r} leaves no loss to train", where="recover: losses",
            way_out="Give one a weight above 0; local needs one beside it, as in local+hidden+output.",
        )  # fmt: skip
    return tuple(parts)


def resolve(parts: Sequence[Part], plan: Plan) -> tuple[Part, ...]:
    """What `auto` means for these networks: the outputs' own losses, and features unless they are redundant.

    A language model of the teacher's depth is trained on its scores alone (Minitron), and so is a student of another
    architecture, which features mislead (OFA-KD); everything else learns features, too.
    """
    if parts:
        fitting = [part for part in parts if not part.optional or _fits(part.name, plan)]
        return tuple(replace(part, optional=False) for part in fitting or parts)
    scores_only = all(output.kind == "tokens" for output in plan.outputs) and not plan.shallower
    features = () if scores_only or not (plan.points and plan.alike) else (Part("hidden", None),)
    return (Part("output", None), *features)


def _fits(name: str, plan: Plan) -> bool:
    """Whether the networks have what a loss compares, as far as that can be told before anything is computed."""
    found = {BOUND: plan.pairs, "relation": plan.attention, "relation_kl": plan.attention}
    return name not in FEATURES or bool(found.get(name, plan.points))


def judging(parts: Sequence[Part], plan: Plan, *, labelled: bool) -> list[tuple[str, float]]:
    """What held-out samples are judged by, with weights: the parts that compare outputs, so that a state is kept for
    what it was trained for. Labels that only some samples have are none."""
    plain = [part for part in parts if part.name not in (*FEATURES, LOCAL)]
    chosen = [(part.name, 1.0 if part.weight is None else part.weight) for part in plain]
    asks = any(name == "ce" or (name == "task" and not plan.causal) for name, _ in chosen)
    return [("output", 1.0)] if not chosen or (asks and not labelled) else chosen


class Objective(nn.Module):
    """The terms of a training run. Adapters and branches are its parameters."""

    def __init__(self, parts: Sequence[Part], plan: Plan, sample: Sample) -> None:
        super().__init__()
        self.parts = [part for part in parts if part.name != LOCAL]
        self.terms = nn.ModuleList(build_term(part.name, plan, sample) for part in self.parts)

    def forward(self, seen: Seen, ranks: Ranks, share: float) -> tuple[Tensor, Mapping[str, float]]:
        """This process's part of the loss, and every term's value over all processes.

        `share` is its part of the batch's samples.
        """
        losses = [share * _mean(term, seen) for term in self.terms]
        values = ranks.total(torch.stack([loss.detach() for loss in losses]))
        weights = self._weights(values)
        total = torch.stack([weight * loss for weight, loss in zip(weights, losses, strict=True)]).sum()
        return total, dict(zip((part.name for part in self.parts), values.tolist(), strict=True))

    def _weights(self, values: Tensor) -> list[Tensor | float]:
        plain = [1.0 if part.weight is None else part.weight for part in self.parts]
        balanced = [part.weight is None and part.name in FEATURES for part in self.parts]
        logit = [part.name not in (*FEATURES, "ce", "task") for part in self.parts]
        bases = logit if any(logit) else [part.name not in FEATURES for part in self.parts]
        if not any(bases):
            return list(plain)
        base = torch.stack([w * v for w, v, chosen in zip(plain, values, bases, strict=True) if chosen]).sum()
        alphas = [(base / v.clamp_min(1e-12)).clamp_max(_LARGEST) for v in values]
        return [alpha if b else w for alpha, b, w in zip(alphas, balanced, plain, strict=True)]


def _mean(term: nn.Module, seen: Seen) -> Tensor:
    loss: Tensor = term(seen) if isinstance(term, Term) else torch.zeros(())
    return loss.mean()
