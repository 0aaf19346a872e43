"""A small ONNX file whose weights are read from inside another one, so that a runtime maps them instead of copying.

    model.onnx: … raw_data at bytes [o, o + n) …    →    external_data {location: model.onnx, offset: o, length: n}

Only the frame of the file is parsed (field numbers and lengths of ModelProto, GraphProto, TensorProto); the weights
themselves are never read.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx

__all__ = ["by_reference", "mapped"]

_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
_SMALL = 1024  # bytes; smaller tensors stay where they are, shape inference reads some of them
_Field = tuple[int, int, int, int]  # number, where it starts, where its content starts, where it ends


def by_reference(source: Path, out: Path, location: str, *, smallest: int | None = None) -> None:
    """Write `out`, a model with `source`'s weights in place; `location` is what `source` is called in `out`'s folder.

    Tensors of `smallest` bytes or fewer (1 kB unless given) stay in the model.

    Raises ValueError when `source` is no ONNX file.
    """
    smallest = _SMALL if smallest is None else smallest
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        rest, graph = bytearray(), bytearray()
        for number, start, content, end in _fields(data, 0, len(data)):
            if number != _GRAPH:
                rest += data[start:end]
                continue
            for inner, first, body, last in _fields(data, content, end):
                held = inner == _INITIALIZER
                graph += _referring(data, (first, body, last), location, smallest) if held else data[first:last]
    with out.open("wb") as written:
        written.write(rest + _length_delimited(_GRAPH, bytes(graph)))


@contextmanager
def mapped(source: Path) -> Iterator[Path]:
    """A temporary model file beside `source` whose weights a runtime maps from it; `source` where none can be made."""
    model = None
    try:  # it has to be in the folder of its data
        handle, name = tempfile.mkstemp(".onnx", ".mapped-", source.parent)
        os.close(handle)
        model = Path(name)
        by_reference(source, model, source.name)
    except (OSError, ValueError):
        if model is not None:
            model.unlink()
        yield source
        return
    try:
        yield model
    finally:
        model.unlink()


def _referring(data: mmap.mmap, place: tuple[int, int, int], location: str, smallest: int) -> bytes:
    (start, content, end), header, raw = place, bytearray(), None
    for number, first, body, last in _fields(data, content, end):
        if number == _RAW_DATA:
            raw = (body, last - body)
        elif last - first <= _SMALL:
            header += data[first:last]
    if raw is None or raw[1] <= smallest:
        return bytes(data[start:end])
    tensor = onnx.TensorProto.FromString(bytes(header))
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", raw[0]), ("length", raw[1])):
        tensor.external_data.add(key=key, value=str(value))
    return _length_delimited(_INITIALIZER, tensor.SerializeToString())


def _fields(data: mmap.mmap, position: int, end: int) -> Iterator[_Field]:
    """The fields of one message (Protocol Buffers wire format)."""
    while position < end:
        start = position
        tag, position = _varint(data, position)
        content = position
        match tag & 7:
            case 0:
                _, position = _varint(data, position)
            case 1:
                position += 8
            case 2:
                length, content = _varint(data, position)
                position = content + length
            case 5:
                position += 4
            case kind:
                raise ValueError(f"wire type {kind}")
        if position > end:
            raise ValueError("a field is longer than its message")
        yield tag >> 3, start, content, position


def _varint(data: mmap.mmap, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ValueError("cut off")
        byte = data[position]
        number, position, shift = number | (byte & 0x7F) << shift, position + 1, shift + 7
        if byte < 0x80:
            return number, position


def _length_delimited(number: int, content: bytes) -> bytes:
    out, length = bytearray([number << 3 | 2]), len(content)
    while length > 0x7F:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(out) + bytes([length]) + content
