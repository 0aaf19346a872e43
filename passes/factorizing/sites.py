"""Where a matrix can become two thin ones: stored weights of linear layers, convolutions and embeddings.

What several calls read under one name or several (an embedding tied to the output layer) is one site: it is factorized
once, and all its calls share both factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from compressor.graph.concrete import op_name
from compressor.graph.contract import Skip
from compressor.graph.edit import argument, attribute, is_call, layer_name, tensor_of
from compressor.graph.program import Program
from compressor.passes.factorizing.ranks import Shape
from compressor.passes.quantizing.sites import Layer, find_layers
from compressor.passes.quantizing.ties import other_readers, storage_key, tied_groups
from compressor.passes.reading.matrix import rows_of, to_matrix
from compressor.passes.reading.memory import memory_range

__all__ = ["FEW", "Site", "find_sites"]

FEW = 16  # outputs or inputs, below which hardly a rank is left that loses little and saves anything
ZEROS = 0.1  # share of a weight that zeros take up where somebody put them there
_BLOCKS = (torch.ops.compressor.linear_blocks.default, torch.ops.compressor.embedding_blocks.default)


@dataclass(frozen=True)
class Site:
    """A stored matrix, and every call that multiplies by it or looks up its rows.

    `bias`: the one that all its calls add and no other reads; "" where that is none.
    """

    name: str
    kind: str  # "linear", "matmul", "conv", "embedding", or "tied": an embedding that linear layers read, too
    layers: tuple[Layer, ...]
    shape: Shape
    bias: str = ""

    @property
    def weight(self) -> str:
        return self.layers[0].weight

    @property
    def stem(self) -> str:
        """How names of the new tensors begin: `fc1.`, or `table_` for a bare parameter."""
        module = self.weight.removesuffix("weight")
        return module if module == "" or module.endswith(".") else f"{self.weight}_"

    @property
    def nodes(self) -> tuple[fx.Node, ...]:
        """All its calls, in order."""
        return tuple(sorted(node for layer in self.layers for node in layer.nodes))

    @property
    def products(self) -> tuple[fx.Node, ...]:
        """The calls that multiply by it: all, unless some look up rows."""
        return tuple(node for node in self.nodes if self.layer(node).kind != "embedding")

    def layer(self, node: fx.Node) -> Layer:
        """The layer that a call belongs to."""
        return next(layer for layer in self.layers if node in layer.nodes)

    def matrix(self, program: Program) -> Tensor:
        """Outputs × inputs, in double precision; of an embedding its rows × its columns."""
        kind = {"tied": "linear", "embedding": "linear"}.get(self.kind, self.kind)
        return to_matrix(program.get(self.weight).detach(), kind)[0].double()

    def rows(self, program: Program, node: fx.Node, data: Tensor, limit: int) -> Tensor:
        """What at most `limit` positions of a product read: positions × inputs."""
        kind = "conv" if self.kind == "conv" else "linear"
        return rows_of(node, data, program.get(self.weight), kind, limit)[0]


def find_sites(program: Program, keep: Sequence[str] = ()) -> tuple[list[Site], list[Skip]]:
    """Every site of a functional program in order of first use, and where there is a weight but none, the reason."""
    layers, skips = find_layers(program, keep, "form of low rank")
    sites, kept = [], {skip.site for skip in skips}
    skips += [
        Skip(layer_name(n), "its weight is in blocks of few bits") for n in program.nodes() if is_call(n, *_BLOCKS)
    ]
    for group in tied_groups(program, layers):
        site = _site(program, group)
        reason = _refusal(program, site)
        if not reason:
            sites.append(site)
        elif site.name not in kept:
            skips.append(Skip(site.name, reason))
    return sites, skips


def _site(program: Program, group: Sequence[Layer]) -> Site:
    kinds = {layer.kind for layer in group}
    kind = "tied" if kinds == {"linear", "embedding"} else group[0].kind if len(kinds) == 1 else "mixed"
    weight = program.get(group[0].weight)
    if kind == "matmul":
        shape = Shape(weight.shape[1], weight.shape[0])
    else:
        shape = Shape(weight.shape[0], weight.shape[1], int(weight[0, 0].numel()))
    name = group[0].weight.removesuffix(".weight")
    return Site(name, kind, tuple(group), shape, _bias(program, group) if kind not in ("embedding", "mixed") else "")


def _bias(program: Program, group: Sequence[Layer]) -> str:
    nodes = {node for layer in group for node in layer.nodes}
    names = {attribute(layer.bias(node)) for layer in group for node in layer.nodes}
    [name] = names if len(names) == 1 else [None]
    stored = program.get(name) if name is not None else None
    if name is None or not isinstance(stored, Tensor) or stored.dim() != 1 or stored.dtype != torch.float32:
        return ""
    readers = {user for node in program.graph.nodes if attribute(node) == name for user in node.users}
    return name if readers == nodes else ""


def _refusal(program: Program, site: Site) -> str:
    weight, first = program.get(site.weight), site.nodes[0]
    if site.kind == "conv_transpose":
        return "it is a transposed convolution"
    if site.kind == "conv" and any(int(argument(node, "groups")) != 1 for node in site.nodes):
        depthwise = int(argument(first, "groups")) == weight.shape[0]
        return f"it is a convolution {'by channel' if depthwise else 'in groups'}: its matrices are small already"
    if site.kind == "mixed":
        return "calls of different kinds read its weight"
    if any(
        op_name(node) == "addmm" and (argument(node, "beta"), argument(node, "alpha")) != (1, 1) for node in site.nodes
    ):
        return "its product is scaled"
    strangers = other_readers(program, site.layers) | _overlapping(program, site)
    if strangers:
        return f"its weight is also read by {min(op_name(node) for node in strangers)}"
    if site.shape.full < FEW:
        few = "outputs" if site.shape.outputs < FEW else "inputs"
        return f"it has only {site.shape.full} {few}"
    if not bool(torch.isfinite(weight).all()):
        return "its weights are not finite"
    zeros = float((weight == 0).float().mean())
    if zeros > ZEROS:
        return f"{zeros:.0%} of its weights are zero, and of its factors none would be"
    return ""


def _overlapping(program: Program, site: Site) -> set[fx.Node]:
    """What reads another view of the same memory."""
    weight = program.get(site.weight)
    start, end = memory_range(weight)
    found: set[fx.Node] = set()
    for node in program.graph.nodes:
        other = tensor_of(program, node)
        if other is not None and storage_key(other) != storage_key(weight):
            first, last = memory_range(other)
            if first < end and start < last:
                found.update(node.users)
    return found
