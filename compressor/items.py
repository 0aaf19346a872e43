"""What a data source yields, a mapping, tuple or tensor, taken apart into named inputs and labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from compressor.errors import InputError
from compressor.graph.naming import PAST_KEY_VALUES
from compressor.sources import as_tensor

__all__ = ["EMPTY", "LABELS", "check_filled", "resolve"]

LABELS = "labels"
EMPTY = "Leave empty samples out: a text has one token at least."


def resolve(item: Any, names: Sequence[str], count: int, source: str) -> tuple[dict[str, Tensor], Tensor | None]:
    """Inputs by dotted name, and labels, from what a data source yields.

    A mapping goes by name. A tuple of `count` members goes by position, of one more has the labels last, and of a
    mapping or tuple and something else is (inputs, labels).
    """
    if isinstance(item, Mapping):
        values = dict(_leaves(item))
        labels = None if LABELS in names else _tensor(values.pop(LABELS, None), source)
        return {name: as_tensor(value, f"{source}, {name!r}") for name, value in values.items()}, labels
    if _is_container(item):
        if len(item) == 2 and (isinstance(item[0], Mapping) or _is_container(item[0])):
            return resolve(item[0], names, count, source)[0], _tensor(item[1], source)
        if len(item) not in (count, count + 1) or len(names) < count:
            raise InputError(
                f"yields {len(item)} values, the model takes {count} ({', '.join(names[:count])})",
                where=source,
                way_out="Yield the inputs in this order, or a dict of them; labels may follow as one more value.",
            )
        named = {name: as_tensor(value, source) for name, value in zip(names, item[:count], strict=False)}
        return named, _tensor(item[count] if len(item) > count else None, source)
    return {next(iter(names), "input"): as_tensor(item, source)}, None


def check_filled(name: str, tensor: Tensor, source: str, *, axis: int | None = 0) -> None:
    """Raises InputError where samples, counted along `axis`, hold nothing, as texts without a token do. A key–value
    cache may be empty; that there are no samples is another error."""
    sizes = [size for place, size in enumerate(tensor.shape) if place != axis]
    samples = tensor.shape[axis] if axis is not None and axis < tensor.dim() else 1
    if samples and 0 in sizes and not name.startswith(f"{PAST_KEY_VALUES}."):
        raise InputError(
            f"input {name!r} has the shape {tuple(tensor.shape)}: its samples are empty", where=source, way_out=EMPTY
        )


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names of what nested dicts and lists hold; a list of numbers is a leaf."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    elif _is_container(tree):
        for index, value in enumerate(tree):
            yield from _leaves(value, f"{prefix}.{index}")
    else:
        yield prefix, tree


def _is_container(tree: Any) -> bool:
    return isinstance(tree, (list, tuple)) and not _is_numbers(tree)


def _is_numbers(tree: Sequence[Any]) -> bool:
    """Whether nested lists hold nothing but numbers."""
    return bool(tree) and all(
        isinstance(x, (int, float)) or (isinstance(x, (list, tuple)) and _is_numbers(x)) for x in tree
    )


def _tensor(value: Any, source: str) -> Tensor | None:
    return None if value is None else as_tensor(value, f"{source}, labels")
