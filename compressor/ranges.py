"""Which values an integer input may take, read off one run of the model.

    bound(input) = min over lookups that it reaches of the length of the dimension looked up

The model runs once on zeros while each operator is watched. An integer tensor that comes from an input by layout
changes, casts and simple arithmetic carries that input's name; where it indexes a table (embedding, gather, advanced
indexing), the table's length bounds the input. No input or module names are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["index_bounds"]

aten = torch.ops.aten

# What hands an integer's value on, or nearly so: a bound that arithmetic shifts is corrected by trying it.
_CARRIES = {
    aten.view, aten._unsafe_view, aten.reshape, aten.permute, aten.transpose, aten.t, aten.slice, aten.select,
    aten.narrow, aten.expand, aten.squeeze, aten.unsqueeze, aten.unbind, aten.split, aten.split_with_sizes, aten.chunk,
    aten.cat, aten.stack, aten.clone, aten.contiguous, aten.alias, aten.detach, aten.lift_fresh, aten.flip, aten.roll,
    aten.repeat, aten._to_copy, aten.to, aten.copy, aten.add, aten.sub, aten.mul, aten.rsub, aten.where,
    aten.clamp, aten.clamp_min, aten.clamp_max, aten.minimum, aten.maximum, aten.masked_fill, aten.constant_pad_nd,
    aten.index_select, aten.slice_scatter, aten.select_scatter,
}  # fmt: skip
_EMBEDDINGS = {aten.embedding, aten._embedding_bag, aten._embedding_bag_forward_only}
_ALONG = {aten.gather, aten.index_select, aten.scatter, aten.scatter_add, aten.index_add, aten.index_copy}
_ADVANCED = {aten.index, aten._unsafe_index, aten.index_put, aten._index_put_impl}


def index_bounds(run: Callable[[], object], inputs: Sequence[Tensor]) -> list[int | None]:
    """For each input, one more than the largest index it may hold; None where it indexes nothing.

    `run` calls the model on exactly these tensors. An error of the model's ends the watching early: what was seen
    until then is returned, and the caller finds the error when it runs the model itself.
    """
    watch = _Watch(inputs)
    with torch.no_grad(), watch:
        try:
            run()
        except Exception:  # noqa: BLE001  any model, any error; see above
            watch.ended_early = True
    return [watch.bounds.get(index) for index in range(len(inputs))]


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Follows integer tensors from inputs to the tables that they index."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bounds: dict[int, int] = {}
        self.ended_early = False
        self._origins: dict[int, frozenset[int]] = {}
        self._alive: list[Tensor] = []  # an id must not be reused while it is a key
        for index, tensor in enumerate(inputs):
            self._mark(tensor, frozenset([index]))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for tensor, length in _lookups(func.overloadpacket, args):
            for origin in self._origins.get(id(tensor), ()):
                self.bounds[origin] = min(length, self.bounds.get(origin, length))
        result = func(*args, **kwargs)
        if func.overloadpacket in _CARRIES:
            origins = frozenset[int]().union(*(self._origins.get(id(t), ()) for t in _tensors((args, kwargs))))
            for tensor in _tensors(result):
                self._mark(tensor, origins)
        return result

    def _mark(self, tensor: Tensor, origins: frozenset[int]) -> None:
        whole = not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
        if origins and whole:
            self._origins[id(tensor)] = origins
            self._alive.append(tensor)


def _lookups(packet: Any, args: Sequence[Any]) -> Iterator[tuple[Tensor, int]]:
    """Each index tensor of a call with the length of what it looks up."""
    if packet in _EMBEDDINGS:
        yield args[1], args[0].shape[0]
        if packet is not aten.embedding and isinstance(args[2], Tensor):
            yield args[2], 1  # bag offsets: the first must be zero, and zero is always in order
    elif packet in _ALONG and args[0].dim():
        yield args[2], args[0].shape[args[1]]
    elif packet in _ADVANCED:
        for axis, tensor in enumerate(args[1]):
            if isinstance(tensor, Tensor) and tensor.dtype != torch.bool:
                yield tensor, args[0].shape[axis]
    elif packet is aten.take:
        yield args[1], args[0].numel()


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, (tuple, list)):
        for item in tree:
            yield from _tensors(item)
    elif isinstance(tree, dict):
        yield from _tensors(tuple(tree.values()))
