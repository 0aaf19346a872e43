"""Writes an ONNX model one tensor at a time, so that saving costs no second copy of the weights.

    ModelProto = graph (field 7) + the rest        GraphProto = initializer (field 5)* + the rest
    TensorProto = dims, data_type, name + raw_data (field 9)

Protocol buffer fields may come in any order, so the rest is serialized without weights and the weights are appended
to it straight from memory. Above 2 GB, which one message cannot hold, they go to `NAME.data`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import onnx
import onnx_ir as ir

__all__ = ["INLINE_LIMIT", "save", "weight_bytes"]

INLINE_LIMIT = 2**31 - 2**24  # a message holds 2 GiB − 1; room for the graph itself
_GRAPH, _INITIALIZER, _RAW_DATA = (7 << 3) | 2, (5 << 3) | 2, (9 << 3) | 2


def weight_bytes(model: ir.Model) -> int:
    """Bytes of all initializers."""
    return sum(tensor.nbytes for tensor in _weights(model))


def save(model: ir.Model, path: Path, *, limit: int = INLINE_LIMIT) -> tuple[Path, ...]:
    """Write the model, with its weights inline up to `limit` bytes of them; the files written."""
    if weight_bytes(model) > limit:
        data = path.with_name(f"{path.name}.data")
        ir.save(model, path, external_data=data.name, size_threshold_bytes=1024)
        return path, data
    tensors = _weights(model)
    with _without_weights(model):
        proto = ir.to_proto(model)
    graph = proto.graph.SerializeToString()
    proto.ClearField("graph")
    headers = [_header(tensor) for tensor in tensors]
    length = len(graph) + sum(
        _field_length(len(header) + tensor.nbytes) for header, tensor in zip(headers, tensors, strict=True)
    )
    with path.open("wb") as file:
        file.write(proto.SerializeToString())
        file.write(_varint(_GRAPH) + _varint(length) + graph)
        for header, tensor in zip(headers, tensors, strict=True):
            file.write(_varint(_INITIALIZER) + _varint(len(header) + tensor.nbytes) + header)
            _write_data(tensor, file)
    return (path,)


def _weights(model: ir.Model) -> list[ir.TensorProtocol]:
    found = []
    for name, value in model.graph.initializers.items():
        if value.const_value is None:
            raise ValueError(f"initializer {name!r} has no value")
        value.const_value.name = name
        found.append(value.const_value)
    return found


@contextmanager
def _without_weights(model: ir.Model) -> Iterator[None]:
    initializers = dict(model.graph.initializers)
    model.graph.initializers.clear()
    try:
        yield
    finally:
        model.graph.initializers.update(initializers)


def _header(tensor: ir.TensorProtocol) -> bytes:
    """Everything of a TensorProto up to its raw bytes."""
    proto = onnx.TensorProto(name=tensor.name, data_type=int(tensor.dtype), dims=list(tensor.shape.numpy()))
    return bytes(proto.SerializeToString()) + _varint(_RAW_DATA) + _varint(tensor.nbytes)


def _write_data(tensor: ir.TensorProtocol, file: BinaryIO) -> None:
    before = file.tell()
    if hasattr(tensor, "tofile"):
        tensor.tofile(file)
    else:
        file.write(tensor.tobytes())
    if file.tell() - before != tensor.nbytes:
        raise ValueError(f"{tensor.name!r} has {file.tell() - before} bytes, not {tensor.nbytes}")


def _field_length(content: int) -> int:
    return len(_varint(_INITIALIZER)) + len(_varint(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
