"""Matches what `--data` holds with a program's inputs: by name, dtype, shape and length, every value finite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from compressor.errors import InputError, did_you_mean
from compressor.graph.signature import TensorSpec, dtype_name
from compressor.sources import as_tensor

__all__ = ["Chunk", "Fitter", "fixed_batch", "normal", "resolve"]

LABELS = "labels"
_BLOCK = 256  # samples looked at together when values are checked


@dataclass(frozen=True)
class Chunk:
    """Samples that lie side by side. `shared` inputs have no batch dimension and serve every batch whole."""

    inputs: Mapping[str, Tensor]
    labels: Tensor | None
    dtypes: Mapping[str, torch.dtype]
    shared: frozenset[str]
    length: int

    def __len__(self) -> int:
        return self.length

    def batch(self, start: int, stop: int) -> dict[str, Tensor]:
        """Samples `start` to `stop` in the program's dtypes."""
        return {
            name: (tensor if name in self.shared else tensor[start:stop]).to(self.dtypes[name])
            for name, tensor in self.inputs.items()
        }


class Fitter:
    """Fits items to a program's inputs and collects notes on what it had to convert."""

    def __init__(self, specs: Sequence[TensorSpec], source: str) -> None:
        self.specs, self.source = {spec.name: spec for spec in specs}, source
        self.shared = frozenset(self.specs) - _batched(specs)
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def fit(self, item: Any) -> Chunk:
        """One item as a chunk. Raises InputError when it does not fit the program's inputs."""
        values, labels = resolve(item, list(self.specs), len(self.specs), self.source)
        inputs = self._named(values)
        lengths = {n: len(t) for n, t in inputs.items() if n not in self.shared and t.dim()}
        if labels is not None and len(lengths):
            lengths[LABELS] = len(labels) if labels.dim() else 0
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{name}: {length}" for name, length in lengths.items())
            raise InputError(f"the arrays differ in their number of samples ({counts})", where=self.source)
        sizes: dict[str, int] = {}
        for name, tensor in inputs.items():
            self._check_shape(self.specs[name], tensor, sizes)
        chunk = Chunk(
            inputs,
            None if labels is None else self._label_dtype(labels),
            {name: self._dtype(self.specs[name], tensor) for name, tensor in inputs.items()},
            self.shared,
            next(iter(lengths.values()), 1),
        )
        self._check_values(chunk)
        return chunk

    def _named(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """In the order of the program's inputs; the one array for the one input may have any name."""
        wanted, given = list(self.specs), list(values)
        if len(wanted) == len(given) == 1 and wanted != given:
            self.note(f"array {given[0]!r} is taken for the model's one input {wanted[0]!r}")
            return {wanted[0]: values[given[0]]}
        missing = [name for name in wanted if name not in values]
        extra = [name for name in given if name not in self.specs]
        if missing or extra:
            what = f"no array for input {missing[0]!r}" if missing else f"array {extra[0]!r} is no input of the model"
            raise InputError(
                f"{what}: the data have {', '.join(sorted(given)) or 'none'}; the model takes {', '.join(wanted)}",
                where=self.source,
                way_out=did_you_mean(extra[0], wanted) if extra else "Add it, or name the array so.",
            )
        return {name: values[name] for name in wanted}

    def _check_shape(self, spec: TensorSpec, tensor: Tensor, sizes: dict[str, int]) -> None:
        skip = 0 if spec.name in self.shared else 1  # the batch is cut to size later
        fits = tensor.dim() == len(spec.shape)
        for wanted, size in list(zip(spec.shape, tensor.shape, strict=False))[skip:]:
            free = isinstance(wanted, str)
            fits = fits and size == (sizes.setdefault(wanted, size) if isinstance(wanted, str) else wanted)
            fits = fits and not (free and size == 0)
        if not fits:
            shape = ", ".join(map(str, (*["samples"] * skip, *spec.shape[skip:])))
            raise InputError(
                f"input {spec.name!r} has the shape {tuple(tensor.shape)}, the model takes ({shape})",
                where=self.source,
            )

    def _dtype(self, spec: TensorSpec, tensor: Tensor) -> torch.dtype:
        """The program's dtype, where converting to it says the same."""
        given, wanted = tensor.dtype, spec.dtype
        if given == wanted:
            return wanted
        if _kind(given) == _kind(wanted) or (_kind(given), _kind(wanted)) in {("bool", "int"), ("int", "bool")}:
            self.note(f"{spec.name}: {dtype_name(given)} read as {dtype_name(wanted)}")
            return wanted
        way_out = f"Save it as {dtype_name(wanted)}."
        if _kind(wanted) == "float":
            way_out = "Convert it as in training; images often by x.astype('float32') / 255."
        raise InputError(
            f"input {spec.name!r} is {dtype_name(given)}, the model takes {dtype_name(wanted)}",
            where=self.source,
            way_out=way_out,
        )

    def _label_dtype(self, labels: Tensor) -> Tensor:
        if labels.dtype.is_floating_point and not bool(torch.isfinite(labels).all()):
            raise InputError("labels hold NaN or infinite values", where=self.source)
        return labels if labels.dtype.is_floating_point or labels.dtype == torch.bool else labels.to(torch.int64)

    def _check_values(self, chunk: Chunk) -> None:
        """Every value finite, before and after conversion, and no whole number changed by it."""
        for name, tensor in chunk.inputs.items():
            wanted = chunk.dtypes[name]
            for number, block in _blocks(tensor, whole=name in chunk.shared):
                if tensor.dtype.is_floating_point and not bool(torch.isfinite(block).all()):
                    index = number + int((~torch.isfinite(block)).nonzero()[0][0]) if block.dim() else number
                    raise InputError(
                        f"input {name!r} holds NaN or infinite values, first in sample {index}", where=self.source
                    )
                if not _survives(block, wanted):
                    raise InputError(f"input {name!r} holds values beyond {dtype_name(wanted)}", where=self.source)


def resolve(item: Any, names: Sequence[str], count: int, source: str) -> tuple[dict[str, Tensor], Tensor | None]:
    """Inputs by dotted name, and labels, from what a data source yields.

    A mapping goes by name. A tuple of `count` members goes by position, of one more has the labels last, and of a
    mapping or tuple and something else is (inputs, labels).
    """
    if isinstance(item, Mapping):
        values = dict(_leaves(item))
        labels = None if LABELS in names else values.pop(LABELS, None)
        return {name: as_tensor(value, f"{source}, {name!r}") for name, value in values.items()}, _tensor(labels, source)
    if isinstance(item, (tuple, list)) and not _is_numbers(item):
        if len(item) == 2 and isinstance(item[0], (Mapping, tuple, list)) and not _is_numbers(item[0]):
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


def fixed_batch(specs: Sequence[TensorSpec]) -> int | None:
    """The batch size that a program insists on, or None where it is dynamic or there is none."""
    sizes = {spec.shape[0] for spec in specs if spec.shape}
    only = next(iter(sizes)) if len(sizes) == 1 else None
    return only if isinstance(only, int) else None


def normal(tensor: Tensor, module: nn.Module) -> Tensor:
    """A sample as a model not yet captured most likely takes it: floats as its weights are, integers int64."""
    if tensor.dtype.is_floating_point:
        weights = (p.dtype for p in module.parameters() if p.dtype.is_floating_point)
        return tensor.to(next(weights, torch.float32))
    return tensor if tensor.dtype in (torch.bool, torch.uint8) else tensor.to(torch.int64)


def _batched(specs: Sequence[TensorSpec]) -> frozenset[str]:
    """The inputs whose first dimension counts samples."""
    if fixed_batch(specs) is not None:
        return frozenset(spec.name for spec in specs if spec.shape)
    return frozenset(spec.name for spec in specs if spec.shape and isinstance(spec.shape[0], str))


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names of what nested dicts and lists hold; a list of numbers is a leaf."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(tree, (list, tuple)) and not _is_numbers(tree):
        for index, value in enumerate(tree):
            yield from _leaves(value, f"{prefix}.{index}")
    else:
        yield prefix, tree


def _is_numbers(tree: Sequence[Any]) -> bool:
    """Whether nested lists hold nothing but numbers."""
    return bool(tree) and all(
        isinstance(x, (int, float)) or (isinstance(x, (list, tuple)) and _is_numbers(x)) for x in tree
    )


def _tensor(value: Any, source: str) -> Tensor | None:
    return None if value is None else as_tensor(value, f"{source}, labels")


def _kind(dtype: torch.dtype) -> str:
    if dtype == torch.bool:
        return "bool"
    return "float" if dtype.is_floating_point else "complex" if dtype.is_complex else "int"


def _blocks(tensor: Tensor, *, whole: bool) -> Iterator[tuple[int, Tensor]]:
    if whole or not tensor.dim():
        yield 0, tensor
    else:
        for start in range(0, len(tensor), _BLOCK):
            yield start, tensor[start : start + _BLOCK]


def _survives(block: Tensor, wanted: torch.dtype) -> bool:
    """Whether converting changes no more than a float's precision."""
    if block.dtype == wanted:
        return True
    converted = block.to(wanted)
    if wanted.is_floating_point:
        return bool(torch.isfinite(converted).all())
    return bool((converted.to(block.dtype) == block).all())
