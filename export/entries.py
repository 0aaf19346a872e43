"""An entry's ONNX file: its graph over the weights of the whole network's data file, and what it has of its own.

    W_entry = Mul(Slice(W, 0, k), c)        Gather where its rows are not the first ones; c where a scale differs

W is an external tensor at its place in `model.onnx.data`. ONNX Runtime folds Slice, Gather and Mul of constants when it
loads a model, so that an entry runs as one that was exported by itself. A batch norm that the exporter folded into the
layer before it gives the entry's rows another scale, by its own statistics: one number c a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from compressor.errors import ExportError
from compressor.export.onnx import to_onnx
from compressor.graph.entries import Entry, Rows
from compressor.targets.target import Target

__all__ = ["write_entry"]

_CLOSE = 1e-5  # relative: a scale is found by division
_Array = np.ndarray[Any, Any]


def write_entry(entry: Entry, target: Target, parent: Path, path: Path) -> None:
    """Write `path` beside `parent`, a model with a data file.

    Raises what `to_onnx` does, and ExportError where the two share no tensor.
    """
    if path.parent != parent.parent:
        raise ValueError(f"{path} is not beside {parent}: a model's data lie in its folder")
    model = to_onnx(entry.program, target).model
    stored, writer = ir.load(parent).graph.initializers, _Writer(model)
    both = [name for name in model.graph.initializers if name in stored]
    large = [name for name in both if isinstance(stored[name].const_value, ir.ExternalTensor)]
    shared = [writer.share(name, stored[name], entry.rows.get(name, ())) for name in large]
    if not any(shared):
        raise ExportError("shares no tensor with the network that it is an entry of", where=path.name)
    ir.save(model, path)


class _Writer:
    """Turns a model's own tensors into rows of stored ones; constants of equal content are one."""

    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self.constants: dict[tuple[str, bytes], ir.Value] = {}

    def share(self, name: str, source: ir.Value, rows: tuple[Rows, ...]) -> bool:
        """Read a tensor from the data file, where it can be made of the one that lies there."""
        old, stored = self.model.graph.initializers[name], source.const_value
        assert old.const_value is not None
        assert stored is not None
        wanted, whole = old.const_value.numpy(), stored.numpy()
        for each in dict.fromkeys((rows, rows[::-1])):  # a matrix may be stored transposed
            found = _rows(whole, each)
            if found is None or found.shape != wanted.shape or (scale := _scale(found, wanted)) is None:
                continue
            value = _external(name, stored)
            nodes = list(self._nodes(name, value, each, scale))
            old.name = f"{name}/own"  # its place is taken
            old.replace_all_uses_with(nodes[-1].outputs[0] if nodes else value)
            del self.model.graph.initializers[old.name]
            self.model.graph.register_initializer(value)
            self.model.graph.insert_before(self.model.graph[0], nodes)
            return True
        return False

    def _nodes(self, name: str, value: ir.Value, rows: tuple[Rows, ...], scale: _Array) -> Iterator[ir.Node]:
        """One after the other, from the stored tensor to the entry's."""
        for axis, kept in enumerate(rows):
            if kept is None:
                continue
            if kept[-1] == len(kept) - 1:  # they ascend
                places = [self._constant(np.array([number])) for number in (0, len(kept), axis)]
                node = ir.node("Slice", [value, *places], name=f"{name}/Slice_{axis}")
            else:
                places = [self._constant(np.array(kept))]
                node = ir.node("Gather", [value, *places], {"axis": axis}, name=f"{name}/Gather_{axis}")
            [value] = node.outputs
            value.name = node.name
            yield node
        if scale.size:
            node = ir.node("Mul", [value, self._constant(scale)], name=f"{name}/Mul")
            node.outputs[0].name = node.name
            yield node

    def _constant(self, array: _Array) -> ir.Value:
        key = (f"{array.dtype} {array.shape}", array.tobytes())
        if key not in self.constants:
            tensor = ir.tensor(array, name=f"entry/constant_{len(self.constants)}")
            value = ir.Value(
                name=tensor.name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
            )
            self.model.graph.register_initializer(value)
            self.constants[key] = value
        return self.constants[key]


def _external(name: str, stored: ir.TensorProtocol) -> ir.Value:
    shape = ir.Shape([int(size) for size in stored.shape])  # type: ignore[arg-type]  # a weight's shape is static
    return ir.Value(name=name, shape=shape, type=ir.TensorType(stored.dtype), const_value=stored)


def _rows(whole: _Array, rows: tuple[Rows, ...]) -> _Array | None:
    """None where the tensor has no such rows."""
    for axis, kept in enumerate(rows):
        if kept is not None:
            if axis >= whole.ndim or max(kept) >= whole.shape[axis]:
                return None
            whole = whole.take(kept, axis)
    return whole


def _scale(found: _Array, wanted: _Array) -> _Array | None:
    """What a tensor is multiplied with to be the wanted one: nothing (an empty array), a number for each place along
    one of its axes, or no such thing (None)."""
    if np.array_equal(found, wanted):
        return np.empty(0, wanted.dtype)
    for axis in range(wanted.ndim) if wanted.dtype == np.float32 else ():
        others = tuple(other for other in range(wanted.ndim) if other != axis)
        square = np.square(found).sum(others, keepdims=True)
        scale: _Array = (found * wanted).sum(others, keepdims=True) / np.where(square == 0, 1, square)
        if np.allclose(found * scale, wanted, rtol=_CLOSE, atol=_CLOSE * float(np.abs(wanted).max())):
            return scale.astype(wanted.dtype)
    return None
