"""Matches what `--data` holds with a program's inputs: by name, dtype, shape and length, every value finite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from compressor.errors import InputError, did_you_mean
from compressor.graph.kv_cache import is_past, with_past
from compressor.graph.naming import PAST
from compressor.graph.signature import TensorSpec, dtype_name
from compressor.graph.sizes import dimension
from compressor.items import EMPTY, LABELS, check_filled, resolve

__all__ = ["Chunk", "Fitter", "fixed_batch", "normal"]

MASK = "attention_mask"  # whose zeros are padding, wherever an input has this name
PREFIXES = "Names are the inputs' own; `train/` or `calibration/` before one says what alone its samples are for."
_BLOCK = 256  # samples looked at together when values are checked


@dataclass(frozen=True)
class Chunk:
    """Samples that lie side by side along each input's axis; an input without one serves every batch whole.

    `specs` are the program's inputs: a key–value cache among them that the data lack is empty in every batch.
    """

    inputs: Mapping[str, Tensor]
    labels: Tensor | None
    dtypes: Mapping[str, torch.dtype]
    axes: Mapping[str, int]
    length: int
    specs: Sequence[TensorSpec] = ()

    def __len__(self) -> int:
        return self.length

    def batch(self, start: int, stop: int) -> dict[str, Tensor]:
        """Samples `start` to `stop` in the program's dtypes."""
        given = {name: self.part(name, start, stop).to(self.dtypes[name]) for name in self.inputs}
        return dict(with_past(self.specs, given))

    def part(self, name: str, start: int, stop: int) -> Tensor:
        """Those samples of one input, as they were given."""
        tensor, axis = self.inputs[name], self.axes.get(name)
        return tensor if axis is None else tensor.narrow(axis, start, min(stop, self.length) - start)

    def labels_of(self, start: int, stop: int) -> Tensor | None:
        return self.labels[start:stop] if self.labels is not None and self.axes else self.labels


class Fitter:
    """Fits items to a program's inputs and collects notes on what it had to convert."""

    def __init__(self, specs: Sequence[TensorSpec], source: str) -> None:
        self.specs, self.source = {spec.name: spec for spec in specs}, source
        self.wanted = [spec.name for spec in specs if not is_past(spec)]
        self.axes = _axes(specs)
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def fit(self, item: Any) -> Chunk:
        """One item as a chunk. Raises InputError when it does not fit the program's inputs."""
        values, labels = resolve(item, self.wanted, len(self.wanted), self.source)
        inputs = self._named(values)
        given = [(name, axis) for name, axis in self.axes.items() if name in inputs]
        lengths = {name: inputs[name].shape[axis] for name, axis in given if inputs[name].dim() > axis}
        if labels is not None and len(lengths):
            lengths[LABELS] = len(labels) if labels.dim() else 0
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{name}: {length}" for name, length in lengths.items())
            raise InputError(f"the arrays differ in their number of samples ({counts})", where=self.source)
        sizes = {} if len(inputs) > len(self.wanted) else {PAST: 0}
        for name in sorted(inputs, key=lambda name: not all(str(d).isalnum() for d in self.specs[name].shape)):
            self._check_shape(self.specs[name], inputs[name], sizes)
        return Chunk(
            inputs,
            None if labels is None else self._label_dtype(labels),
            {name: self._dtype(self.specs[name], tensor) for name, tensor in inputs.items()},
            self.axes,
            next(iter(lengths.values()), 1),
            list(self.specs.values()),
        )

    def _named(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """In the order of the program's inputs; the one array for the one input may have any name."""
        wanted, given = self.wanted, list(values)
        if len(wanted) == len(given) == 1 and wanted != given:
            self.note(f"array {given[0]!r} is taken for the model's one input {wanted[0]!r}")
            return {wanted[0]: values[given[0]]}
        missing = [name for name in wanted if name not in values]
        extra = [name for name in given if name not in self.specs]
        if missing or extra:
            what = f"no array for input {missing[0]!r}" if missing else f"array {extra[0]!r} is no input of the model"
            way_out = "Add it, or name the array (in a folder, its file) so: one an input, samples first."
            if extra:
                way_out = PREFIXES if any("/" in name for name in extra) else did_you_mean(extra[0], wanted)
            raise InputError(
                f"{what}: the data have {', '.join(sorted(given)) or 'none'}; the model takes {', '.join(wanted)}",
                where=self.source,
                way_out=way_out,
            )
        return {name: values[name] for name in self.specs if name in values}

    def _check_shape(self, spec: TensorSpec, tensor: Tensor, sizes: dict[str, int]) -> None:
        batch = self.axes.get(spec.name)  # is cut to size later
        if not is_past(spec) and 0 not in spec.shape:
            check_filled(spec.name, tensor, self.source, axis=batch)
        fits = tensor.dim() == len(spec.shape)
        for axis, (wanted, size) in enumerate(zip(spec.shape, tensor.shape, strict=False)):
            if axis != batch:
                fits = fits and size == (_expected(wanted, size, sizes) if isinstance(wanted, str) else wanted)
        if not fits:
            shape = ", ".join("samples" if axis == batch else str(size) for axis, size in enumerate(spec.shape))
            raise InputError(
                f"input {spec.name!r} has the shape {tuple(tensor.shape)}, the model takes ({shape})",
                where=self.source,
                way_out="Give data of that shape. What a .pt2 file has fixed changes only by exporting it again.",
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

    def check_values(self, chunk: Chunk, start: int, stop: int) -> None:
        """Every value of these samples finite, before and after conversion, and no whole number changed by it."""
        for name, wanted in chunk.dtypes.items():
            for first in range(start, stop, _BLOCK):
                block = chunk.part(name, first, min(first + _BLOCK, stop))
                if block.dtype.is_floating_point and not bool(torch.isfinite(block).all()):
                    place = (~torch.isfinite(block)).nonzero()[0]
                    sample = f", first in sample {first + int(place[chunk.axes[name]])}" if name in chunk.axes else ""
                    raise InputError(f"input {name!r} holds NaN or infinite values{sample}", where=self.source)
                if not _survives(block, wanted):
                    raise InputError(f"input {name!r} holds values beyond {dtype_name(wanted)}", where=self.source)
                if name == MASK and chunk.axes.get(name) == 0 and block.dim() == 2:
                    self._check_mask(block, first)

    def _check_mask(self, block: Tensor, first: int) -> None:
        """Attention to nothing has no value: each runtime makes another one of it."""
        empty = (block == 0).all(1).nonzero()
        if len(empty):
            raise InputError(
                f"input {MASK!r} is 0 everywhere in sample {first + int(empty[0])}: a text of padding alone",
                where=self.source,
                way_out=EMPTY,
            )


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


def _expected(wanted: str, size: int, sizes: dict[str, int]) -> int:
    """The size of a dynamic dimension, taken from the first tensor that has it."""
    if PAST in wanted and wanted not in sizes:
        return dimension(wanted, {wanted: size, **sizes})
    return sizes.setdefault(wanted, size or 1)


def _axes(specs: Sequence[TensorSpec]) -> dict[str, int]:
    """The axis that counts samples, of each input that has one: called `batch`, or `NAME.batch` where capture could
    not prove two batches equal.
    """
    if fixed_batch(specs) is not None:
        return {spec.name: 0 for spec in specs if spec.shape}
    axes = {s.name: [i for i, size in enumerate(s.shape) if str(size).rpartition(".")[2] == "batch"] for s in specs}
    return {name: found[0] for name, found in axes.items() if found}


def _kind(dtype: torch.dtype) -> str:
    if dtype == torch.bool:
        return "bool"
    return "float" if dtype.is_floating_point else "complex" if dtype.is_complex else "int"


def _survives(block: Tensor, wanted: torch.dtype) -> bool:
    """Whether converting changes no more than a float's precision."""
    if block.dtype == wanted:
        return True
    converted = block.to(wanted)
    if wanted.is_floating_point:
        return bool(torch.isfinite(converted).all())
    return bool((converted.to(block.dtype) == block).all())
