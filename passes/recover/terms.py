"""The losses by name, each over what both networks computed on a batch; one number a sample.

output     by kind: kl for scores, squared + cosine for values     kl, soft_ce, mse, cosine   one of them for all
ce         cross entropy with the user's labels                    task   ce, or the next token, or the teacher's best
hidden     squared error at the points                             hidden_cosine, last, last_cosine   (the last one)
relation   self-relations of q, k and v                            relation_kl
branches   one-for-all: class scores from each point               bound   how far factorized weights went (PELA)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from compressor.errors import RecipeError
from compressor.passes.recover.adapters import adapter, features_last, thinned
from compressor.passes.recover.factors import bound
from compressor.passes.recover.losses.relations import relation
from compressor.passes.recover.losses.scores import IGNORED, hard_ce, kl, ofa, soft_ce
from compressor.passes.recover.losses.values import by_sample, cosine, squared
from compressor.passes.recover.outputs import Output
from compressor.passes.recover.plan import Plan, Seen

__all__ = ["FEATURES", "TERMS", "Sample", "Term", "build_term"]

Score = Callable[[Tensor, Tensor, Output], Tensor]
Sample = Callable[[], Iterable[Seen]]  # what both compute on some batches, one at a time


class Term(nn.Module):
    """A loss [samples]. Its parameters (adapters, branches) are trained along and never reach the program."""

    def forward(self, seen: Seen) -> Tensor:
        raise NotImplementedError


class OutputTerm(Term):
    """The mean over the outputs that the score takes."""

    def __init__(self, outputs: Sequence[Output], score: Score) -> None:
        super().__init__()
        self.outputs, self.score = outputs, score

    def forward(self, seen: Seen) -> Tensor:
        losses = []
        for output in self.outputs:
            ours, theirs = output.arranged(seen.ours[output.ours]), output.arranged(seen.theirs[output.theirs])
            losses.append(by_sample(self.score(ours, theirs, output), seen.mask))
        return torch.stack(losses).mean(0)


class LabelTerm(Term):
    """Cross entropy of the first output of scores, with labels, next tokens, or the teacher's best class."""

    def __init__(self, output: Output, wanted: Literal["labels", "tokens", "teacher"], *, shifted: bool) -> None:
        """`shifted`: a place scores the next token's label, as in a causal language model."""
        super().__init__()
        self.output, self.wanted, self.shifted = output, wanted, shifted

    def forward(self, seen: Seen) -> Tensor:
        scores = self.output.arranged(seen.ours[self.output.ours])
        if self.wanted == "teacher":
            theirs = self.output.arranged(seen.theirs[self.output.theirs])
            return by_sample(hard_ce(scores, theirs.argmax(-1)), seen.mask)
        labels = seen.labels if self.wanted == "labels" else seen.tokens
        if labels is None:
            raise RecipeError("a batch has no labels", where="recover: losses")
        if self.shifted:
            mask = None if seen.mask is None else seen.mask[:, 1:]
            scores, labels = scores[:, :-1], labels[:, 1:]
            known = labels != IGNORED if mask is None else (labels != IGNORED) & mask
            return by_sample(hard_ce(scores, labels.long()), known)
        return by_sample(hard_ce(scores, labels.long()), labels != IGNORED if labels.dim() > 1 else None)


class PointTerm(Term):
    """The mean over points of a distance, through adapters where widths differ. Points that differ in their positions,
    too, are compared by their mean over positions."""

    def __init__(self, plan: Plan, sample: Sample, form: Literal["squared", "cosine"], *, last: bool = False) -> None:
        super().__init__()
        count = len(plan.points)
        self.chosen = range(count - 1 if last else 0, count)
        self.axes = [pair.axes for pair in plan.points]
        self.form = form
        powers: dict[int, list[float]] = {index: [] for index in self.chosen}
        fitted: dict[int, list[tuple[Tensor, Tensor]]] = {}
        for seen in sample():  # once for all points: what both networks compute costs more than what is kept of it
            for index in self.chosen:
                ours, theirs = self._features(seen, index)
                powers[index].append(float(theirs.float().square().mean()))
                if ours.shape[-1] != theirs.shape[-1]:
                    fitted.setdefault(index, []).append(thinned(ours, theirs))
        self.scales = {index: sum(power) / len(power) or 1.0 for index, power in powers.items()}
        self.adapters = nn.ModuleDict({str(index): adapter(pairs) for index, pairs in fitted.items()})

    def forward(self, seen: Seen) -> Tensor:
        losses = []
        for index in self.chosen:
            ours, theirs = self._features(seen, index)
            if str(index) in self.adapters:
                ours = self.adapters[str(index)](ours.float())
            loss = squared(ours, theirs, self.scales[index]) if self.form == "squared" else cosine(ours, theirs)
            losses.append(by_sample(loss, seen.mask))
        return torch.stack(losses).mean(0)

    def _features(self, seen: Seen, index: int) -> tuple[Tensor, Tensor]:
        ours, theirs = (features_last(v, a) for v, a in zip(seen.points[index], self.axes[index], strict=True))
        if ours.shape[:-1] != theirs.shape[:-1]:
            ours, theirs = (value.flatten(1, -2).mean(1) if value.dim() > 2 else value for value in (ours, theirs))
        return ours, theirs


class RelationTerm(Term):
    """The mean over attention layers and over queries, keys and values."""

    def __init__(self, form: Literal["squared", "kl"]) -> None:
        super().__init__()
        self.form: Literal["squared", "kl"] = form

    def forward(self, seen: Seen) -> Tensor:
        pairs = [(ours, theirs) for ours, theirs in seen.attention if ours.shape[2] == theirs.shape[2]]
        losses = [by_sample(relation(ours, theirs, seen.mask, self.form), seen.mask) for ours, theirs in pairs]
        return torch.stack(losses).mean(0)


class BranchTerm(Term):
    """A small network from each point to class scores, position by position and then their mean."""

    WIDTH = 64

    def __init__(self, plan: Plan, seen: Seen, power: float = 1.0) -> None:
        super().__init__()
        self.output = next(output for output in plan.outputs if output.kind != "values")
        self.axes, self.power = [pair.axes[0] for pair in plan.points], power
        classes = self.output.classes
        widths = [value.shape[axis] for (value, _), axis in zip(seen.points, self.axes, strict=True)]
        layers = [nn.Sequential(nn.Linear(n, self.WIDTH), nn.GELU(), nn.Linear(self.WIDTH, classes)) for n in widths]
        self.branches = nn.ModuleList(layers).to(seen.theirs[0].device)

    def forward(self, seen: Seen) -> Tensor:
        theirs = self.output.arranged(seen.theirs[self.output.theirs])
        losses = []
        for branch, (value, _), axis in zip(self.branches, seen.points, self.axes, strict=True):
            scores = branch(features_last(value, axis).float())
            if scores.dim() > theirs.dim():
                scores = scores.flatten(1, -2).mean(1)
            labels = seen.labels if seen.labels is not None and seen.labels.shape == theirs.shape[:-1] else None
            losses.append(by_sample(ofa(scores, theirs, labels, self.power), seen.mask))
        return torch.stack(losses).mean(0)


class BoundTerm(Term):
    """PELA's bound on what factorized layers multiply by, the same number for every sample."""

    def forward(self, seen: Seen) -> Tensor:
        return bound(seen.strays).expand(len(seen.ours[0]))


def _by_kind(ours: Tensor, theirs: Tensor, output: Output) -> Tensor:
    if output.kind == "values":
        return squared(ours, theirs, output.scale) + cosine(ours, theirs)
    return kl(ours, theirs, output.temperature)


_SCORES: Mapping[str, Score] = {
    "output": _by_kind,
    "kl": lambda ours, theirs, output: kl(ours, theirs, output.temperature),
    "soft_ce": lambda ours, theirs, output: soft_ce(ours, theirs, output.temperature),
    "mse": lambda ours, theirs, output: squared(ours, theirs, output.scale),
    "cosine": lambda ours, theirs, output: cosine(ours, theirs),
}
FEATURES = ("hidden", "hidden_cosine", "last", "last_cosine", "relation", "relation_kl", "branches", "bound")
TERMS = (*_SCORES, "ce", "task", *FEATURES)


def build_term(name: str, plan: Plan, sample: Sample) -> Term:
    """The term called `name`, its adapters fitted to a sample of what both networks compute.

    Raises RecipeError when the networks have nothing that it compares.
    """
    scored = [output for output in plan.outputs if output.kind != "values"]
    seen = next(iter(sample()))
    if name in _SCORES:
        if name in ("kl", "soft_ce") and not scored:
            raise _missing(name, "no output holds class scores", "mse or cosine compare values.")
        return OutputTerm(scored if name in ("kl", "soft_ce") else plan.outputs, _SCORES[name])
    if name in ("ce", "task"):
        return _label_term(name, scored, seen, plan.causal)
    if name in ("relation", "relation_kl"):
        if not any(ours.shape[2] == theirs.shape[2] for ours, theirs in seen.attention):
            raise _missing(name, "the networks share no attention over the same positions", "")
        return RelationTerm("squared" if name == "relation" else "kl")
    if name == "bound":
        if not plan.pairs:
            raise _missing(name, "no layer of the student is two in place of one of the teacher's", "")
        return BoundTerm()
    if not plan.points:
        raise _missing(name, "the networks have no blocks that match", "Compare the outputs alone: output.")
    if name == "branches":
        if not scored:
            raise _missing(name, "no output holds class scores", "hidden compares features.")
        return BranchTerm(plan, seen)
    return PointTerm(plan, sample, "cosine" if name.endswith("cosine") else "squared", last=name.startswith("last"))


def _label_term(name: str, scored: Sequence[Output], seen: Seen, causal: bool) -> Term:
    if not scored:
        raise _missing(name, "no output holds class scores", "")
    shifted = causal and scored[0].kind == "tokens"
    if seen.labels is not None:
        return LabelTerm(scored[0], "labels", shifted=shifted)
    if name == "ce":
        raise _missing(name, "the training data have no labels", "task falls back on the teacher's best class.")
    return LabelTerm(scored[0], "tokens" if shifted and seen.tokens is not None else "teacher", shifted=shifted)


def _missing(name: str, what: str, way_out: str) -> RecipeError:
    return RecipeError(f"{name}: {what}", where="recover: losses", way_out=way_out)
