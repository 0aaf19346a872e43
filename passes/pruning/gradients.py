"""First-order scores: how much the loss would change if a unit's weights went to zero.

    vector      |Σ g·w|                 element-1   Σ |g·w|             element-2   Σ |g·w − ½·F·w²|,  F = E[gᵢ²]
                                                                    ≈ n·E[ḡ²], ḡ the mean gradient of n samples
    disturbed   E |Σ g·w|,  g = ∇ ‖f(x) − (f(x) + ε)‖²,  ε ~ N(0, σ²)

(Taylor: Molchanov et al., 2017, arXiv:1611.06440; Ma et al., LLM-Pruner, 2023, arXiv:2305.11627. Disturbed: Chen et
al., SlimSAM, 2023, arXiv:2312.05284.) Gradients need no labels: a language model predicts its own input, a classifier
its own most likely class, and the disturbed loss, whose gradient is nonzero at the unpruned point, anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from compressor.graph.causal import predicted, scores_of
from compressor.graph.contract import Batch, Progress
from compressor.graph.dimensions.groups import Dimensions
from compressor.graph.kv_cache import answers
from compressor.graph.program import Program
from compressor.passes.pruning.units import UnitScores, sum_by_unit

__all__ = ["disturbed", "predicts_tokens", "taylor"]

Loss = Callable[[Sequence[Tensor], Batch], Tensor]
NOISE = 0.01  # σ, relative to the outputs' own spread
PIECE = 8  # samples a gradient: the more gradients, the better E |·| is known


def taylor(dimensions: Dimensions, batches: Sequence[Batch], kind: str, progress: Progress) -> UnitScores:
    """Scores of kind "vector", "element-1" or "element-2" from the gradients of the task's own loss."""
    program, batches = dimensions.program, pieces(dimensions.program, batches)
    total: dict[str, Tensor] = {}
    squares: dict[str, Tensor] = {}
    tokens = predicts_tokens(program, batches) if batches else None
    found = _gradients(program, batches, lambda outputs, batch: _loss(tokens, outputs, batch), progress)
    for batch, gradients in zip(batches, found, strict=True):
        samples = len(next(iter(batch.values())))
        for name, gradient in gradients.items():
            total[name] = total.get(name, torch.zeros(())) + gradient
            if kind == "element-2":
                squares[name] = squares.get(name, torch.zeros(())) + samples * gradient.square()
    count = max(len(batches), 1)
    weights = {name: program.get(name).detach() for name in total}
    first = {name: gradient / count * weights[name] for name, gradient in total.items()}
    if kind == "vector":
        return {atom: abs(score) for atom, score in sum_by_unit(dimensions, first).items()}
    if kind == "element-2":
        first = {n: value - 0.5 * squares[n] / count * weights[n].square() for n, value in first.items()}
    return sum_by_unit(dimensions, {name: value.abs() for name, value in first.items()})


def disturbed(dimensions: Dimensions, batches: Sequence[Batch], seed: int, progress: Progress) -> UnitScores:
    """The mean over batches, each with noise of its own, of |Σ g·w|."""
    program, batches = dimensions.program, pieces(dimensions.program, batches)
    generator = torch.Generator().manual_seed(seed)

    def loss(outputs: Sequence[Tensor], batch: Batch) -> Tensor:
        judged = zip(outputs, program.outputs, strict=True)
        terms = [value for value, spec in judged if value.is_floating_point() and spec in answers(program.outputs)]
        noise = [torch.randn(value.shape, generator=generator) * NOISE * value.detach().std() for value in terms]
        errors = [value - (value.detach() + n) for value, n in zip(terms, noise, strict=True)]
        return torch.stack([error.square().sum() for error in errors]).sum()

    scores: UnitScores = {}
    for gradients in _gradients(program, batches, loss, progress):
        products = {name: gradient * program.get(name).detach() for name, gradient in gradients.items()}
        for atom, score in sum_by_unit(dimensions, products).items():
            scores[atom] = scores.get(atom, 0.0) + abs(score) / len(batches)
    return scores


def pieces(program: Program, batches: Sequence[Batch]) -> list[Batch]:
    """The batches cut to a few samples each, where their inputs share a dynamic first dimension."""
    names = [spec.name for spec in program.inputs]
    leading = {spec.shape[0] if spec.shape else 0 for spec in program.inputs}
    if len(leading) != 1 or not isinstance(leading.pop(), str):
        return list(batches)
    return [
        {name: value[start : start + PIECE] for name, value in batch.items()}
        for batch in batches
        for start in range(0, len(batch[names[0]]), PIECE)
    ]


def _gradients(
    program: Program, batches: Sequence[Batch], loss: Loss, progress: Progress
) -> Iterator[Mapping[str, Tensor]]:
    """The gradients of every parameter for each batch; the program's own tensors are not touched."""
    leaves: dict[int, Tensor] = {}
    weights: dict[str, Tensor] = {}
    for name, value in program.tensors().items():
        if isinstance(value, nn.Parameter) and value.is_floating_point():
            leaf = leaves.setdefault(value.untyped_storage().data_ptr(), value.detach().clone().requires_grad_())
            weights[name] = leaf if leaf.shape == value.shape else value.detach().clone().requires_grad_()
    names, wanted = list(weights), list(weights.values())
    with torch.enable_grad():
        for batch in progress.over(batches, "scoring"):
            outputs = functional_call(program.module, weights, program.flatten(batch))
            found = torch.autograd.grad(loss(outputs, batch), wanted, allow_unused=True)
            yield {name: grad for name, grad in zip(names, found, strict=True) if grad is not None}


def _loss(tokens: str | None, outputs: Sequence[Tensor], batch: Batch) -> Tensor:
    """Next-token loss of a language model of these `tokens`, the loss of the likeliest class elsewhere.

    With `labels` in the batch, a classifier's own.
    """
    predicting = None if tokens is None else scores_of(outputs, batch[tokens])
    if tokens is not None and predicting is not None:
        return functional.cross_entropy(predicting[:, :-1].flatten(0, 1), batch[tokens][:, 1:].flatten())
    scores = next(value for value in outputs if value.is_floating_point())
    scores = scores if scores.dim() == 2 else scores.flatten(0, -2) if scores.dim() > 2 else scores[:, None]
    labels = batch.get("labels")
    fits = labels is not None and labels.shape == scores.shape[:1] and not labels.is_floating_point()
    return functional.cross_entropy(scores, labels if fits and labels is not None else scores.detach().argmax(-1))


def predicts_tokens(program: Program, batches: Sequence[Batch]) -> str | None:
    """The input of a causal language model, which has its labels in it; None for any other program."""
    return predicted(program, pieces(program, batches[:1])[0])
