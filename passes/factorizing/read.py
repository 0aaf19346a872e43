"""What the layers to be factorized read, and what the original's layers give at the same positions.

Two runs go in step, the original and one in which the layers before are factorized already: what a layer reads comes
from what the caller made of those (as in SparseGPT). Of an embedding it is counted how often each row is looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from compressor.graph.contract import Batch, Progress
from compressor.graph.edit import tensor_of
from compressor.graph.program import Program
from compressor.graph.stepping import Stepper
from compressor.passes.factorizing.sites import Site
from compressor.passes.reading.matrix import results_of

__all__ = ["Call", "Seen", "read"]

ROWS = 8192  # positions that one layer is judged by
NUMBERS = 1 << 24  # that they hold together
Call = Callable[..., Any]


@dataclass
class Seen:
    """Rows × inputs that a layer reads, rows × outputs that the original multiplies them to (without bias; only where
    it was asked for), and for an embedding the times that each of its rows was looked up."""

    rows: Tensor | None = None
    targets: Tensor | None = None
    counts: Tensor | None = None

    @property
    def usable(self) -> bool:
        found = [tensor for tensor in (self.rows, self.targets) if tensor is not None]
        finite = all(bool(torch.isfinite(tensor.square().sum())) for tensor in found)  # as their products have to be
        return finite and (self.counts is not None or (self.rows is not None and bool(self.rows.any())))


@dataclass
class _Parts:
    rows: list[Tensor] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)
    counts: Tensor | None = None

    def seen(self) -> Seen | None:
        if not self.rows and self.counts is None:
            return None
        rows, targets = (torch.cat(found) if found else None for found in (self.rows, self.targets))
        return Seen(rows, targets, self.counts)


def read(
    program: Program,
    sites: Sequence[Site],
    batches: Sequence[Batch],
    progress: Progress,
    instead: Mapping[fx.Node, Call] | None = None,
    *,
    what: str = "factorizing",
) -> Iterator[tuple[Site, Seen | None]]:
    """Each site of a functional program in the order of the last calls; None where no data reached it.

    `instead` holds what to call in place of some nodes, and the caller adds to it before asking for the next site; with
    it come targets; it is empty at first.
    """
    if not batches:
        yield from ((site, None) for site in sites)
        return
    flat = [program.flatten(batch) for batch in batches]
    runs = [Stepper(program, [t.clone() for t in each]).fork({} if instead is None else instead) for each in flat]
    originals: list[Stepper] = []
    owner = {node: site for site in sites for node in site.nodes}
    waiting, found = {site.name: len(site.nodes) for site in sites}, {site.name: _Parts() for site in sites}
    nodes = [node for node in program.graph.nodes if node.op != "output"]
    for node in progress.over(nodes, what):
        if (site := owner.get(node)) is not None:
            if instead is not None and not originals:  # until here both computed the same
                originals = [run.fork({}) for run in runs]
            with torch.no_grad():
                _take(program, site, node, runs, originals, found[site.name])
            waiting[site.name] -= 1
            if not waiting[site.name]:
                yield site, found.pop(site.name).seen()
            if not any(waiting.values()):  # nothing after them is read
                return
        with torch.no_grad():
            for run in runs:
                run.step()


def _take(
    program: Program, site: Site, node: fx.Node, runs: Sequence[Stepper], originals: Sequence[Stepper], into: _Parts
) -> None:
    layer = site.layer(node)
    data = [run.argument(layer.data(node)) for run in runs]
    if layer.kind == "embedding":
        ids = torch.cat([each.flatten() for each in data])
        counts = torch.bincount(ids, minlength=site.shape.outputs)
        into.counts = counts if into.counts is None else into.counts + counts
        return
    limit = min(ROWS, NUMBERS // max(site.shape.inputs, site.shape.outputs)) // (len(runs) * len(site.products)) + 1
    into.rows += [site.rows(program, node, each, limit).float() for each in data if each.numel()]
    bias, kind = tensor_of(program, layer.bias(node)), "conv" if site.kind == "conv" else "linear"
    for original, each in zip(originals, data, strict=False):
        if each.numel():
            original.run_to(node)
            value = results_of(node, original.argument(node), kind, limit).float()
            into.targets.append(value if bias is None else value - bias.detach())
