"""How far a network's outputs go when some of its calls are replaced, all others being as they were.

    error = ‖y − ŷ‖ / ‖y‖ over the outputs
    divergence = KL(softmax y ‖ softmax ŷ) where they score classes or tokens, and in hundreds of rows

Over few rows a divergence hangs on the one that is nearest to changing its class; the error does not. The network runs
up to the first replaced call once, and from there on once a replacement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from compressor.graph.contract import Batch
from compressor.graph.functional import is_mutating
from compressor.graph.program import Program
from compressor.graph.stepping import Stepper
from compressor.passes.recover.outputs import Output, match_outputs

__all__ = ["Call", "Calls", "Damage", "Judge", "Trials"]

ROWS = 256  # of scores, from which on their divergence is the measure
Outputs = Sequence[Tensor]
Call = Callable[..., Any]
Calls = Mapping[fx.Node, Call]
Judge = Callable[[Sequence[Outputs]], float]  # the outputs of each batch to the metric's value


@dataclass(frozen=True)
class Damage:
    """The relative error of all float outputs (the root of the mean square), and the mean divergence of scores."""

    error: float
    divergence: float | None = None

    @property
    def additive(self) -> float:
        """What adds up over layers, nearly: the divergence, or the squared relative error."""
        return self.error**2 if self.divergence is None else self.divergence


class Trials:
    """The batches in step, up to the place at hand, and the exact outputs. The program is functional."""

    def __init__(self, program: Program, batches: Sequence[Batch]) -> None:
        self.program = program
        self.inputs = [program.flatten(batch) for batch in batches]
        self.fixed = not any(is_mutating(node) for node in program.graph.nodes)
        self.steppers = [self._fresh(flat) for flat in self.inputs]
        with torch.no_grad():
            self.exact: list[list[Tensor]] = [self._fresh(flat).outputs() for flat in self.inputs]
        self.outputs = _outputs(program, self.exact[0])
        self.first = {node: place for place, node in enumerate(program.graph.nodes)}

    def advance(self, nodes: Iterable[fx.Node]) -> None:
        """Run up to the first of these; not where in-place operators stay, which would see a fork's values."""
        first = min(nodes, key=self.first.__getitem__)
        for stepper in self.steppers if self.fixed else ():
            stepper.run_before(first)

    def outputs_with(self, calls: Calls) -> list[list[Tensor]]:
        """Every batch's outputs with these calls. What is in place already is run anew."""
        return [stepper.fork(calls).outputs() for stepper in self._starts(calls)]

    def damage(self, results: Sequence[Outputs]) -> Damage:
        """Of such outputs."""
        squares, divergences = [], []
        for output in self.outputs:
            pairs = [(exact[output.ours], ours[output.ours]) for exact, ours in zip(self.exact, results, strict=True)]
            squares.append(_error(pairs) ** 2)
            rows = sum(exact.numel() // exact.shape[output.axis] for exact, _ in pairs if output.kind != "values")
            if rows >= ROWS:
                divergences.append(_divergence(pairs, output.axis))
        mean = sum(divergences) / len(divergences) if divergences else None
        return Damage(math.sqrt(sum(squares) / max(len(squares), 1)), mean)

    def _starts(self, calls: Calls) -> Iterator[Stepper]:
        place = min((self.first[node] for node in calls), default=0)
        ready = self.fixed and all(stepper.place <= place or not calls for stepper in self.steppers)
        yield from self.steppers if ready else (self._fresh(flat) for flat in self.inputs)

    def _fresh(self, flat: Sequence[Tensor]) -> Stepper:
        return Stepper(self.program, flat if self.fixed else [tensor.clone() for tensor in flat])


def _outputs(program: Program, results: Outputs) -> list[Output]:
    floats = any(result.is_floating_point() for result in results)
    return match_outputs(program, program, results) if floats else []


def _error(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    """‖y − ŷ‖ / ‖y‖ over all batches."""
    error = math.fsum(float((ours.double() - exact.double()).square().sum()) for exact, ours in pairs)
    size = math.fsum(float(exact.double().square().sum()) for exact, _ in pairs)
    return math.sqrt(error / size) if size else (0.0 if error == 0.0 else math.inf)


def _divergence(pairs: Sequence[tuple[Tensor, Tensor]], axis: int) -> float:
    """The mean of KL(softmax y ‖ softmax ŷ) over every position of every batch."""
    total, count = 0.0, 0
    for exact, ours in pairs:
        wanted, given = (torch.log_softmax(scores.double(), axis).clamp_min(-1e4) for scores in (exact, ours))
        each = (wanted.exp() * (wanted - given)).sum(axis)
        total, count = total + float(each.sum()), count + each.numel()
    return max(total / count, 0.0) if count else 0.0
