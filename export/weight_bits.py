"""How many bits a weight takes in a model file and as the runtime is given it, by format and overall.

    bits = 8 · (bytes of codes + bytes of their scales and zero points) / weights

In memory is what the unpacked file states; what a runtime makes of it when it loads (layouts of its own) is its
business. Shapes, indices and other integers are no weights. The scale of an int32 bias is that of the layer's inputs
times that of its weights, so that it, and its zero point, count with the weights: the bias itself has its 32 bits.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from compressor.export.custom_op.nodes import EMBEDDING, LINEAR
from compressor.export.onnx_reference import by_reference
from compressor.export.pack import BLOCK_INPUTS, SMALLEST, Part

__all__ = ["weight_bits"]

_KIND = onnx.TensorProto
_FLOATS: dict[int, str] = {_KIND.FLOAT: "fp32", _KIND.FLOAT16: "fp16", _KIND.BFLOAT16: "bf16"}
_INTEGERS: dict[int, str] = {_KIND.INT8: "int8", _KIND.UINT8: "uint8", _KIND.INT32: "int32"}
_BYTES: dict[int, int] = {_KIND.FLOAT: 4, _KIND.INT32: 4, _KIND.FLOAT16: 2, _KIND.BFLOAT16: 2}
_BY_CODEC = {"trits": "ternary", "words": "ternary", "bits3": "int3"}
_SECOND = "_sizes"  # ends the name of a second matrix of codes for the same weights (ternary {min, 0, max})
_PLACES = {**BLOCK_INPUTS, LINEAR: (1, 2), EMBEDDING: (0, 1)}
_PRODUCT = "MatMulIntegerToFloat"  # codes, codes, their scales, their zero points, bias
_FAR = 3  # nodes from a bias's sum up to the codes: product, transpose
_Tensors = Mapping[str, onnx.TensorProto]


@dataclass
class _Stored:
    """Tensors of one format: how many weights, and bytes in the file and unpacked."""

    weights: int = 0
    disk: int = 0
    memory: int = 0

    def told(self) -> dict[str, Any]:
        return {
            "weights": self.weights,
            "bits_on_disk": round(8 * self.disk / max(self.weights, 1), 3),
            "bits_in_memory": round(8 * self.memory / max(self.weights, 1), 3),
        }


def weight_bits(model: Path, parts: Iterable[Part] = ()) -> dict[str, Any]:
    """{"weights", "bits_on_disk", "bits_in_memory", "formats": {name: the same}}.

    `parts` are those of the packed file where the model is packed: codes are then counted on disk as they are there.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        by_reference(model, path, model.name, smallest=SMALLEST)
        graph = onnx.load(path, load_external_data=False).graph
    packed = {part.offset: part for part in parts}
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    found: dict[str, _Stored] = {}
    seen: set[str] = set()
    for name, format, weights, others in _weights(graph, tensors):
        part = packed.get(_offset(tensors[name]))
        format = format if part is None else _BY_CODEC.get(part.codec, format)
        stored = found.setdefault(format, _Stored())
        for tensor in (name, *others):
            if tensor in tensors and tensor not in seen:
                size = _size(tensors[tensor])
                stored.memory += size
                shorter = packed.get(_offset(tensors[tensor]))
                stored.disk += size if shorter is None else shorter.packed
        stored.weights += 0 if name in seen else weights
        seen.update((name, *others))
    total = _Stored(*(sum(getattr(each, key) for each in found.values()) for key in ("weights", "disk", "memory")))
    return {**total.told(), "formats": {name: found[name].told() for name in sorted(found) if found[name].weights}}


def _weights(graph: onnx.GraphProto, tensors: _Tensors) -> Iterator[tuple[str, str, int, list[str]]]:
    """Each tensor of weights: its name, format, how many, and the names of its scales and zero points."""
    others: set[str] = set()
    biases = _biases(graph, tensors)
    for node in graph.node:
        places = _PLACES.get(node.op_type)
        if places is not None and (name := node.input[places[0]]) in tensors:
            numbers = {attribute.name: attribute.i for attribute in node.attribute}
            rows, width = _matrix(node, tensors[name], numbers)
            zeros = 1 if node.op_type in BLOCK_INPUTS else 0
            scales = [each for each in node.input[places[1] : places[1] + 1 + zeros] if each]
            scales += [each for made in graph.node if made.output[0] in scales for each in made.input[:1]]
            again = name.endswith(_SECOND) and name.removesuffix(_SECOND) in tensors
            yield name, f"int{numbers['bits']}", 0 if again else rows * width, scales
            others.update((name, *scales))
        elif node.op_type == _PRODUCT:
            for name, *beside in (node.input[place:6:2] for place in (0, 1)):  # codes, scale, zero point
                if name in tensors:
                    yield name, _INTEGERS[tensors[name].data_type], _count(tensors[name]), list(filter(None, beside))
            others.update(node.input[2:6])
        elif node.op_type == "DequantizeLinear" and (name := node.input[0]) in tensors:
            apart = any(name == bias for found in biases.values() for bias, *_ in found)
            scales = [] if apart else list(node.input[1:])
            scales += [each for _, *beside in biases.get(name, ()) for each in beside]
            yield name, _INTEGERS.get(tensors[name].data_type, "int"), _count(tensors[name]), scales
            others.update(node.input)
        elif node.op_type == "Gather" and (name := node.input[0]) in tensors and tensors[name].data_type in _INTEGERS:
            if len(tensors[name].dims) == 2:  # a table of codes; shapes have one dimension
                scales = _scales_of_rows(graph, node, tensors)
                yield name, _INTEGERS[tensors[name].data_type], _count(tensors[name]), scales
                others.update(scales)
        elif node.op_type == "QuantizeLinear":
            others.update(node.input[1:])
    others |= {each for node in graph.node if node.op_type == "DequantizeLinear" for each in node.input[1:]}
    for name, tensor in tensors.items():
        if name not in others and tensor.data_type in _FLOATS:
            yield name, _FLOATS[tensor.data_type], _count(tensor), []


def _matrix(node: onnx.NodeProto, codes: onnx.TensorProto, numbers: Mapping[str, int]) -> tuple[int, int]:
    """Outputs and inputs of a matrix in blocks."""
    if node.op_type not in BLOCK_INPUTS:
        return numbers["N"], numbers["K"]
    return codes.dims[0], numbers.get("K", codes.dims[1] * numbers["block_size"])


def _scales_of_rows(graph: onnx.GraphProto, table: onnx.NodeProto, tensors: _Tensors) -> list[str]:
    """What a looked-up row of codes is multiplied by, looked up itself: Gather → Cast → Mul ← Gather."""
    known = {table.output[0]}
    found: list[str] = []
    looked = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Gather"}
    for node in graph.node:  # in the order of computation
        if known & set(node.input):
            if node.op_type == "Cast":
                known.update(node.output)
            if node.op_type == "Mul":
                found += [looked[each] for each in node.input if looked.get(each) in tensors and each not in known]
    return found


def _biases(graph: onnx.GraphProto, tensors: _Tensors) -> dict[str, list[list[str]]]:
    """By the name of a layer's integer weights, its int32 biases, each with its scale and zero point."""
    made = {output: node for node in graph.node for output in node.output}
    found: dict[str, list[list[str]]] = {}
    for node in graph.node:
        for place in node.input:
            bias = made.get(place)
            if bias is None or not _is_code(bias, tensors) or tensors[bias.input[0]].data_type != _KIND.INT32:
                continue
            if (weight := _weight(node, made, tensors)) is not None:
                found.setdefault(weight, []).append(list(bias.input))
    return found


def _weight(node: onnx.NodeProto, made: Mapping[str, onnx.NodeProto], tensors: _Tensors) -> str | None:
    """The weights of the layer that ends in `node`: codes of a product right before it, or that it takes itself."""
    nodes = [node]
    for _ in range(_FAR):
        nodes = [made[name] for each in nodes for name in each.input if name in made]
        for each in nodes:
            if _is_code(each, tensors) and tensors[each.input[0]].data_type != _KIND.INT32:
                return str(each.input[0])
    return None


def _is_code(node: onnx.NodeProto, tensors: _Tensors) -> bool:
    return node.op_type == "DequantizeLinear" and node.input[0] in tensors


def _count(tensor: onnx.TensorProto) -> int:
    return math.prod(tensor.dims)


def _size(tensor: onnx.TensorProto) -> int:
    return _count(tensor) * _BYTES.get(tensor.data_type, 1)


def _offset(tensor: onnx.TensorProto) -> int:
    """Where it lies in the file, or −1 for one that is too small to lie apart."""
    return next((int(entry.value) for entry in tensor.external_data if entry.key == "offset"), -1)
