"""What a block is: a piece of the graph with one value in and one of the same shape out.

stream' = post(stream + branch₁(stream) + branch₂(stream) + …)        post: a norm, an activation, or nothing
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import fx

__all__ = ["Block", "Branch", "Chain", "Kind"]

Kind = Literal["mixer", "mlp", "branch"]


@dataclass(frozen=True)
class Branch:
    """What is added to the stream: computed from `entry`, the stream, up to `exit`, the term of the sum.

    A "mixer" mixes positions (attention, convolution, state space), an "mlp" acts on each position alone; "branch" is
    what neither can be said of. `nodes` are those that only this branch needs, `parameters` all that it reads.
    """

    kind: Kind
    entry: fx.Node
    exit: fx.Node
    nodes: tuple[fx.Node, ...]
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """From the stream before to the stream after, which has its shape.

    `nodes` are in graph order, with the stored tensors and the sizes that only this block reads. `parameters` are in an
    order that corresponds between the blocks of a chain. `branches` are in order; none without a residual stream.
    `axis` is where the stream has its features.
    """

    name: str
    entry: fx.Node
    exit: fx.Node
    nodes: tuple[fx.Node, ...]
    parameters: tuple[str, ...]
    branches: tuple[Branch, ...]
    axis: int = -1


@dataclass(frozen=True)
class Chain:
    """Consecutive blocks that are isomorphic: the same operators on parameters of the same shapes.

    Only views, and what is read beside the stream (masks, tables, a cache), may differ. One block alone is a chain,
    too, where it lies on a `residual` stream.
    """

    blocks: tuple[Block, ...]
    residual: bool = True
