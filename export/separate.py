"""A model whose int8 constants are each read once, for a runtime that cannot make one that several read unsigned.

ONNX Runtime on x86 replaces an int8 weight by an unsigned one where it is asked for kernels that do not saturate
(`session.x64quantprecision`), and adds it twice where two products share it, which it then refuses (1.31:
AddInitializerWithOrtValue). Copies have names of their own; what is computed is the same.
"""

from __future__ import annotations

from pathlib import Path

import onnx

__all__ = ["separated"]

_LARGEST = 2**30  # bytes of a file: protobuf ends at twice that


def separated(path: Path) -> bytes | None:
    """The model file's content so, or None where there is nothing to separate, or it cannot be held in one message."""
    if path.suffix != ".onnx" or sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")) > _LARGEST:
        return None
    graph = (model := onnx.load(path)).graph
    weights = {w.name: w for w in graph.initializer if w.data_type == onnx.TensorProto.INT8 and w.dims}
    unpacking = [n for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in weights]
    copies = [
        _copy(graph, node, reader, at) for node in unpacking for reader, at in _readers(graph, node.output[0])[1:]
    ]
    for name, weight in weights.items():
        for node, at in _readers(graph, name)[1:]:
            copy = graph.initializer.add()
            copy.CopyFrom(weight)
            copy.name = node.input[at] = f"{name}/{node.output[0]}"
            copies.append(node)
    return model.SerializeToString() if copies else None


def _readers(graph: onnx.GraphProto, name: str) -> list[tuple[onnx.NodeProto, int]]:
    """Who reads a value, and at which of its inputs."""
    return [(node, at) for node in graph.node for at, given in enumerate(node.input) if given == name]


def _copy(graph: onnx.GraphProto, unpacking: onnx.NodeProto, reader: onnx.NodeProto, at: int) -> onnx.NodeProto:
    """What unpacks a weight, once more, for one reader alone."""
    copy = onnx.NodeProto()
    copy.CopyFrom(unpacking)
    copy.name = copy.output[0] = reader.input[at] = f"{unpacking.output[0]}/{reader.output[0]}/{at}"
    graph.node.insert(list(graph.node).index(unpacking), copy)
    return copy
