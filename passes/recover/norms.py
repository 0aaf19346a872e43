"""Batch norms while training and after: statistics of the whole batch, and statistics estimated anew.

    mean = avg_b(mean_b)     variance = avg_b(var_b) + avg_b((mean_b − mean)²)

over calibration batches b of equal weight, each layer fed by layers that use the batch's own statistics. After
weights changed, stored statistics describe activations that no longer occur; without this, narrowed networks collapse.
(Yu & Huang, 2019, Universally Slimmable Networks, arXiv:1903.05134, "post-statistics of batch normalization".)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch import distributed as dist

from compressor.graph.contract import Batch
from compressor.graph.edit import argument, attribute, begin, finish, is_call, set_tensor
from compressor.graph.mode import batch_norms, set_mode
from compressor.graph.program import Program

__all__ = ["LEAST", "recalibrate", "statistics_of", "synchronize"]

LEAST = 2  # samples in a batch below which it has no variance


def recalibrate(program: Program, batches: Sequence[Batch], most: int = 32) -> Program:
    """The program with running statistics estimated on the first `most` batches; itself where it has no batch norm.

    Its other tensors, and those of the program given, are untouched. Batches of one sample are left out; with no
    other the statistics stay.
    """
    names = statistics_of(program)
    if not names:
        return program
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    working = begin(program)
    for name in names:
        set_tensor(working, name, program.get(name).clone())
    running = set_mode(working, batch_norm=True)
    for node in batch_norms(running):
        index = [declared.name for declared in node.target._schema.arguments].index("momentum")  # type: ignore[union-attr]
        node.update_arg(index, 1.0)  # what is stored after a batch is that batch's own
    running.module.recompile()
    for batch in list(batches[:most]):
        flat = running.flatten(batch)
        if flat[0].dim() and len(flat[0]) >= LEAST:
            with torch.no_grad():
                running.module(*flat)
            for name in names:
                found[name].append(running.get(name).clone())
    return _with(program, found) if all(found.values()) else program


def statistics_of(program: Program) -> list[str]:
    """The names of its running statistics."""
    return sorted({name for node in batch_norms(program) for name in _statistics(node)})


def _with(program: Program, found: dict[str, list[Tensor]]) -> Program:
    result = begin(program)
    for node in batch_norms(program):
        mean, variance = _statistics(node)
        means, variances = torch.stack(found[mean]), torch.stack(found[variance])
        set_tensor(result, mean, means.mean(0))
        set_tensor(result, variance, variances.mean(0) + (means - means.mean(0)).square().mean(0))
    return finish(result)


def _statistics(node: fx.Node) -> tuple[str, str]:
    mean, variance = (attribute(argument(node, name)) for name in ("running_mean", "running_var"))
    return mean or "", variance or ""


def synchronize(graph: fx.Graph) -> None:
    """Let batch norms in training mode use the statistics of all processes' samples together."""
    for node in graph.nodes:
        if is_call(node, torch.ops.aten.batch_norm.default) and argument(node, "training"):
            node.target = _synchronized


def _synchronized(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor,
    training: bool, momentum: float, eps: float, cudnn: bool,
) -> Tensor:  # fmt: skip
    """Batch norm over the samples of every process, differentiable through the exchange."""
    x, given = x.float(), x.dtype  # sums and counts do not fit into half precision
    axes, shape = [0, *range(2, x.dim())], [1, -1, *([1] * (x.dim() - 2))]
    mine = torch.cat([x.sum(axes), x.new_tensor([x.numel() / x.shape[1]])])
    summed = _summed(mine)
    count = summed[-1].detach()
    average = summed[:-1] / count
    spread = _summed((x - average.reshape(shape)).square().sum(axes)) / count
    with torch.no_grad():
        mean.lerp_(average.detach(), momentum)
        variance.lerp_(spread.detach() * count / (count - 1).clamp_min(1), momentum)
    scaled: Tensor = (x - average.reshape(shape)) * torch.rsqrt(spread.reshape(shape) + eps)
    if weight is not None:
        scaled = scaled * weight.reshape(shape)
    return (scaled if bias is None else scaled + bias.reshape(shape)).to(given)


def _summed(value: Tensor) -> Tensor:
    """The sum over processes; its gradient is the sum of all processes' gradients."""
    from torch.distributed import nn as distributed

    reduce: Any = distributed.functional.all_reduce
    result: Tensor = reduce(value, op=dist.ReduceOp.SUM)
    return result
