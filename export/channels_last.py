"""Changes of layout moved to where they meet and cancel: what is between convolutions has its channels last.

    conv(permute(relu(permute(y, to first)), to last))    →    conv(relu(y))         y (n, H, W, C) of a convolution

A value that some operator gave channels last, and a permutation turned, is also known by what it was, its twin. What
computes element by element, joins, cuts, reduces or pads is done to twins as well; a permutation of a value whose twin
is the result becomes the twin. Whoever else reads the value reads a permutation of its twin, made once.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

import compressor.quant.ops  # noqa: F401  registers the custom ops
from compressor.graph.edit import argument, begin, finish, insert, is_call, permutation, substitute
from compressor.graph.program import Program
from compressor.graph.shapes import same_shape

__all__ = ["TO_FIRST", "TO_LAST", "channels_last", "turned"]

aten, ops = torch.ops.aten, torch.ops.compressor
TO_LAST, TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]
_OF_LINE = [0, 2, 1]  # the same both ways


def channels_last(program: Program) -> Program:
    """The program with fewer permutations; itself where it has none that puts channels first."""
    copy = begin(program)
    layout = _Layout(copy)
    layout.run()
    return finish(copy) if layout.twins else program


def turned(
    program: Program, like: fx.Node, target: Callable[..., Any], x: Any, *args: Any, before: fx.Node | None = None
) -> fx.Node:
    """A call of an operator that takes and gives images channels last, between two changes of layout."""
    last = insert(program, aten.permute.default, (x, TO_LAST), like=like, before=before)
    y = insert(program, target, (last, *args), like=like, before=before)
    return insert(program, aten.permute.default, (y, TO_FIRST), like=like, before=before)


@dataclass
class _Layout:
    """`twins` are values with channels last, by the node that has them first."""

    program: Program
    twins: dict[fx.Node, fx.Node] = field(default_factory=dict)

    def run(self) -> None:
        for node in list(self.program.nodes()):
            twin = self._twin(node)
            if twin is not None:
                self.twins[node] = twin
        for node, twin in self.twins.items():
            if node.users and permutation(node) is None and isinstance(node.meta["val"], Tensor):
                back = TO_FIRST if _rank(node) == 4 else _OF_LINE
                substitute(self.program, node, self._call(node, aten.permute.default, twin, back))

    def _twin(self, node: fx.Node) -> fx.Node | None:
        """What the node's twin is, made where there is one; the node itself may be gone then."""
        if node.op != "call_function":
            return None
        if permutation(node) is not None:
            return self._permuted(node)
        if not any(source in self.twins for source in node.all_input_nodes):
            return None
        rule = _RULES.get(node.target)  # type: ignore[arg-type]
        if rule is None and torch.Tag.pointwise in getattr(node.target, "tags", ()):
            rule = _Layout._elements
        return None if rule is None else rule(self, node)

    def _call(self, like: fx.Node, target: Callable[..., Any], *args: Any) -> fx.Node:
        return insert(self.program, target, args, like=like)

    def _copied(self, node: fx.Node, sources: Mapping[fx.Node, fx.Node], name: str = "", value: Any = None) -> fx.Node:
        """The same call of other inputs, the argument called `name` another."""
        args, kwargs = list(node.args), dict(node.kwargs)
        if name:
            names = [each.name for each in node.target._schema.arguments]  # type: ignore[union-attr]
            place = names.index(name)
            kwargs.pop(name, None)
            args += [argument(node, missing) for missing in names[len(args) : place + 1]]
            args[place] = value
            kwargs = {key: each for key, each in kwargs.items() if key not in names[: len(args)]}
        args, kwargs = fx.map_arg((args, kwargs), lambda each: sources.get(each, each))
        return insert(self.program, node.target, args, like=node, kwargs=dict(kwargs))  # type: ignore[arg-type]

    def _permuted(self, node: fx.Node) -> fx.Node | None:
        """What a permutation to first turned is its twin; one of a value that has a twin turns that."""
        [source, *_] = node.all_input_nodes
        order, before = permutation(node), permutation(source)
        if order is not None and before is not None and source not in self.twins:
            source, order = source.all_input_nodes[0], [before[place] for place in order]
            same = order == sorted(order)
            made = source if same else self._call(node, aten.permute.default, source, order)
            substitute(self.program, node, made)
            return None
        if source in self.twins and order is not None:
            places = [_last(_rank(source)).index(place) for place in order]
            twin, same = self.twins[source], places == sorted(places)
            substitute(self.program, node, twin if same else self._call(node, aten.permute.default, twin, places))
            return None
        return source if order == TO_FIRST else None

    def _elements(self, node: fx.Node) -> fx.Node | None:
        """All operands are turned; of those with a twin one must be as large as the result."""
        value = node.meta["val"]
        tensors = [each for each in node.all_input_nodes if isinstance(each.meta.get("val"), Tensor)]
        known = [each for each in tensors if each in self.twins]
        if not isinstance(value, Tensor) or not any(same_shape(each.meta["val"], value) for each in known):
            return None
        if any(_rank(each) != value.dim() for each in known):
            return None
        return self._copied(node, {each: self._turned(each, value.dim(), node) for each in tensors})

    def _turned(self, source: fx.Node, rank: int, like: fx.Node) -> fx.Node:
        """An operand with channels last; where it has fewer dimensions, it is spread first."""
        if source in self.twins:
            return self.twins[source]
        if all(isinstance(size, int) and size == 1 for size in source.meta["val"].shape):
            return source
        value = source
        for _ in range(rank - _rank(source)):
            value = self._call(like, aten.unsqueeze.default, value, 0)
        return self._call(like, aten.permute.default, value, _last(rank))

    def _joined(self, node: fx.Node) -> fx.Node | None:
        rank, sources = _rank(node), node.all_input_nodes
        if any(_rank(each) != rank for each in sources):
            return None
        last = {each: self._turned(each, rank, node) for each in sources}
        return self._copied(node, last, "dim", _moved(argument(node, "dim"), rank))

    def _along(self, node: fx.Node) -> fx.Node | None:
        """One dimension is meant."""
        [source, *_] = node.all_input_nodes
        return self._copied(node, self.twins, "dim", _moved(argument(node, "dim"), _rank(source)))

    def _element(self, node: fx.Node) -> fx.Node | None:
        """The one argument that has a twin stands for the whole."""
        return self._copied(node, self.twins)

    def _reduced(self, node: fx.Node) -> fx.Node | None:
        """Without the reduced dimensions the others must stay in their order: then the result is the value itself."""
        [source, *_] = node.all_input_nodes
        rank, given = _rank(source), argument(node, "dim")
        if not isinstance(given, list | tuple) or not given:
            return None
        gone = sorted(_moved(each, rank) for each in given)
        left = [each for place, each in enumerate(_last(rank)) if place not in gone]
        keep = bool(argument(node, "keepdim"))
        if not keep and left != sorted(left):
            return None
        made = self._copied(node, self.twins, "dim", gone)
        if not keep:
            substitute(self.program, node, made)
        return made if keep else None

    def _padded(self, node: fx.Node) -> fx.Node | None:
        """Sizes are given from the last dimension on, in pairs; what repeats an image takes those of its axes alone."""
        if is_call(node, aten.pad.default) and argument(node, "mode") != "constant":
            return None
        given, rank = list(argument(node, "pad")), _rank(node)
        pairs = [(given[at], given[at + 1]) for at in range(0, len(given), 2)]
        by_place = [(0, 0)] * (rank - len(pairs)) + pairs[::-1]
        sizes = [size for place in reversed(_last(rank)) for size in by_place[place]]
        return self._copied(node, self.twins, "pad", sizes)

    def _squeezed(self, node: fx.Node) -> fx.Node | None:
        """An image of one line is a line, and the other way round."""
        [source, *_] = node.all_input_nodes
        larger = max(_rank(source), _rank(node))
        if larger != 4 or _rank(source) == _rank(node) or argument(node, "dim") % larger != 2:
            return None
        return self._copied(node, self.twins, "dim", 1)

    def _quantized(self, node: fx.Node) -> fx.Node | None:
        """Where scales differ, they do so along an axis."""
        [source, *_] = node.all_input_nodes
        return self._copied(node, self.twins, "axis", _moved(argument(node, "axis"), _rank(source)))


_RULES: Mapping[Callable[..., Any], Callable[[_Layout, fx.Node], fx.Node | None]] = {
    **dict.fromkeys((aten.contiguous.default, aten.to.dtype, aten.dropout.default), _Layout._element),
    **dict.fromkeys((aten.hardswish.default, operator.getitem), _Layout._element),
    **dict.fromkeys((aten.mean.dim, aten.sum.dim_IntList, aten.amax.default, aten.amin.default), _Layout._reduced),
    **dict.fromkeys((aten.slice.Tensor, aten.softmax.int), _Layout._along),
    **dict.fromkeys((aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default), _Layout._along),
    **dict.fromkeys((aten.squeeze.dim, aten.unsqueeze.default), _Layout._squeezed),
    **dict.fromkeys((ops.quantize.default, ops.dequantize.default), _Layout._quantized),
    aten.cat.default: _Layout._joined,
    aten.pad.default: _Layout._padded,
    aten.constant_pad_nd.default: _Layout._padded,
}  # fmt: skip


def _rank(node: fx.Node) -> int:
    """Dimensions of a value; of several, those of the first."""
    value = node.meta["val"]
    return int((value if isinstance(value, Tensor) else value[0]).dim())


def _last(rank: int) -> list[int]:
    """The order with channels last."""
    return [0, *range(2, rank), 1]


def _moved(dim: int, rank: int) -> int:
    """Where a dimension is with channels last."""
    return _last(rank).index(dim % rank)
