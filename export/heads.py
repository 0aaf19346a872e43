"""Keys and values as they are before each of their heads is repeated for the queries that share it.

    reshape(expand(unsqueeze(k, 2), (B, G, r, T, D)), (B, G · r, T, D))    →    k (B, G, T, D)
    repeat_interleave(k, r, dim=1)                                         →    k

Head h of the queries then reads head h // r of the keys, as it did, and nothing is copied.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from compressor.graph.edit import argument, is_call
from compressor.graph.shapes import is_settled

__all__ = ["unrepeated"]

aten = torch.ops.aten
_VIEWS = (aten.reshape.default, aten.view.default, aten._unsafe_view.default)
_COPIES = (aten.clone.default, aten.contiguous.default)


def unrepeated(node: fx.Node) -> fx.Node:
    """(B, G, T, D) of which a value (B, G · r, T, D) is the repetition, head by head; the value where it is none."""
    if is_call(node, aten.repeat_interleave.self_int):
        times = argument(node, "repeats")
        return _source(node) if isinstance(times, int) and _axis(node) == 1 and _is_heads(_source(node)) else node
    spread = _behind(node, *_VIEWS)
    if not is_call(spread, aten.expand.default) or not is_call(_source(spread), aten.unsqueeze.default):
        return node
    added = _source(spread)
    source, (_, heads, times, *rest) = _source(added), _shape(spread)
    whole = is_settled(heads) and is_settled(times) and _shape(node)[1] == heads * times and len(rest) == 2
    return source if whole and _axis(added) == 2 and _is_heads(source) else node


def _behind(node: fx.Node, *targets: Any) -> fx.Node:
    """What a view shows, copied or not."""
    if not is_call(node, *targets):
        return node
    source = _source(node)
    while is_call(source, *_COPIES):
        source = _source(source)
    return source


def _source(node: fx.Node) -> fx.Node:
    return node.args[0]  # type: ignore[return-value]


def _shape(node: fx.Node) -> tuple[Any, ...]:
    return tuple(node.meta["val"].shape)


def _axis(node: fx.Node) -> int | None:
    """The dimension that is meant, counted from the first one of the result."""
    dim = argument(node, "dim")
    return dim % len(_shape(node)) if isinstance(dim, int) else None


def _is_heads(node: fx.Node) -> bool:
    shape = _shape(node)
    return len(shape) == 4 and is_settled(shape[1])
