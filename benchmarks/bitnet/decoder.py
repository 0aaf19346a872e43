"""One step of a LLaMA-shaped decoder as an ONNX file: a token in, its scores and the key–value cache out.

    h = x + O · attention(rope(Q n), rope(K n), V n),    n = rmsnorm(x)
    y = h + D · (silu(G m) · U m),                       m = rmsnorm(h)

The weights are random: what a step costs does not depend on them. Written one tensor at a time, so that a model larger
than memory could be. The formats differ in the products alone; attention and norms are the same nodes in all:

    fp32      MatMul, Gather
    int4      MatMulNBits in blocks of 128; embeddings and scores in 8 bits
    ternary   the same with two bits
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

__all__ = ["BLOCK", "CACHE", "FORMATS", "PAST", "SHAPES", "Shape", "embedding_bytes", "write_decoder"]

VOCABULARY, HEAD, BLOCK = 32000, 64, 128
PAST, CACHE = 128, 160  # tokens that are in the cache, and that it has room for
FORMATS = ("fp32", "int4", "ternary")
BITS = {"int4": 4, "ternary": 2}
ENDS = 8  # bits of embeddings and scores where the body has fewer
OPSET, MICROSOFT = 21, "com.microsoft"
_PAGE = 4096


@dataclass(frozen=True)
class Shape:
    """A decoder's sizes; those of 700M and 1.3B are BitNet b1.58's (arXiv:2402.17764)."""

    width: int
    inner: int
    layers: int

    @property
    def parameters(self) -> int:
        body = self.layers * (4 * self.width**2 + 3 * self.width * self.inner + 2 * self.width)
        return body + 2 * VOCABULARY * self.width + self.width


SHAPES = {
    "125M": Shape(768, 2048, 12), "350M": Shape(1024, 2752, 24), "700M": Shape(1536, 4096, 24),
    "1.3B": Shape(2048, 5460, 24),
}  # fmt: skip


def write_decoder(shape: Shape, format: str, path: Path) -> int:
    """Write `path` and its weights beside it; the bytes of both."""
    weights = path.with_name(f"{path.name}.data")
    with weights.open("wb") as file:
        graph = _Graph(file, weights.name, format)
        _decoder(graph, shape)
    outputs = [_value("scores", TensorProto.FLOAT, (1, 1, VOCABULARY)), *graph.caches("present", shape)]
    inputs = [
        _value("ids", TensorProto.INT64, (1, 1)), _value("past", TensorProto.INT32, (1,)),
        _value("total", TensorProto.INT32, (1,)), *graph.caches("past", shape),
    ]  # fmt: skip
    made = helper.make_graph(graph.nodes, "decoder", inputs, outputs, graph.tensors)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=10), path)
    return path.stat().st_size + weights.stat().st_size


def embedding_bytes(shape: Shape, format: str) -> int:
    """Bytes of the embeddings."""
    if format == "fp32":
        return 4 * VOCABULARY * shape.width
    return VOCABULARY * (shape.width * ENDS // 8 + 4 * shape.width // BLOCK)


def _value(name: str, kind: int, shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


@dataclass
class _Graph:
    """Nodes, and tensors whose bytes go to `file` at once."""

    file: BinaryIO
    location: str
    format: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    tensors: list[onnx.TensorProto] = field(default_factory=list)
    drawn: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def __post_init__(self) -> None:
        self.floats = self.drawn.standard_normal(2**20, dtype=np.float32)
        trits = self.drawn.integers(1, 4, (2**20, 4), dtype=np.uint8)  # the codes −1, 0, 1 with the zero point 2
        self.trits = (trits << np.array([0, 2, 4, 6], np.uint8)).sum(1, dtype=np.uint8)
        self.bytes = self.drawn.integers(0, 256, 2**20, dtype=np.uint8)

    def node(self, op: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], output, domain=domain, **attributes))
        return output

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        self.tensors.append(onnx.numpy_helper.from_array(values, name))
        return name

    def stored(self, name: str, kind: int, shape: Sequence[int], source: NDArray[np.generic]) -> str:
        """A tensor of `source` over and over, from another place each time."""
        self.file.write(b"\0" * (-self.file.tell() % _PAGE))
        begin, left = self.file.tell(), math.prod(shape)
        source = np.roll(source, int(self.drawn.integers(len(source))))
        while left > 0:
            part = source[:left]
            self.file.write(part.tobytes())
            left -= len(part)
        tensor = onnx.TensorProto(name=name, data_type=kind, dims=shape, data_location=TensorProto.EXTERNAL)
        for key, value in (("location", self.location), ("offset", begin), ("length", self.file.tell() - begin)):
            tensor.external_data.add(key=key, value=str(value))
        self.tensors.append(tensor)
        return name

    def linear(self, x: str, name: str, width: int, outputs: int, bits: int | None = None) -> str:
        """x · Wᵀ, weights of variance 1 / width."""
        if self.format == "fp32":
            weight = self.stored(f"{name}.weight", TensorProto.FLOAT, (width, outputs), self.floats / width**0.5)
            return self.node("MatMul", (x, weight), name)
        bits = bits or BITS[self.format]
        parts = self.blocks(name, outputs, width, bits)
        return self.node(
            "MatMulNBits",
            (x, *parts),
            name,
            MICROSOFT,
            K=width,
            N=outputs,
            bits=bits,
            block_size=BLOCK,
            accuracy_level=4,
        )

    def blocks(self, name: str, rows: int, width: int, bits: int) -> tuple[str, str]:
        count = -(-width // BLOCK)
        codes, scale = (self.trits if bits == 2 else self.bytes), 1 / (width**0.5 * 2 ** (bits - 2))
        shape = (rows, count, BLOCK * bits // 8)
        packed = self.stored(f"{name}.weight", TensorProto.UINT8, shape, codes)
        scales = np.full(2**10, scale, np.float32)
        return packed, self.stored(f"{name}.scale", TensorProto.FLOAT, (rows, count), scales)

    def embedding(self, shape: Shape) -> str:
        if self.format == "fp32":
            table = self.stored("embedding.weight", TensorProto.FLOAT, (VOCABULARY, shape.width), self.floats)
            return self.node("Gather", (table, "ids"), "embedding")
        count = shape.width // BLOCK
        packed = self.stored("embedding.weight", TensorProto.UINT8, (VOCABULARY, shape.width), self.bytes)
        scales = np.full(2**10, 1 / 64, np.float32)
        scale = self.stored("embedding.scale", TensorProto.FLOAT, (VOCABULARY, count), scales)
        return self.node(
            "GatherBlockQuantized", (packed, "ids", scale), "embedding", MICROSOFT,
            bits=ENDS, block_size=BLOCK, gather_axis=0, quantize_axis=1,
        )  # fmt: skip

    def norm(self, x: str, name: str, width: int) -> str:
        gain = self.constant(f"{name}.weight", np.ones(width, np.float32))
        return self.node("SimplifiedLayerNormalization", (x, gain), name, axis=-1, epsilon=1e-5)

    def caches(self, which: str, shape: Shape) -> list[onnx.ValueInfoProto]:
        size = (1, shape.width // HEAD, CACHE, HEAD)
        names = [f"{which}.{layer}.{part}" for layer in range(shape.layers) for part in ("key", "value")]
        return [_value(name, TensorProto.FLOAT, size) for name in names]


def _decoder(graph: _Graph, shape: Shape) -> None:
    angles = np.outer(np.arange(CACHE), 10000.0 ** (-np.arange(0, HEAD, 2) / HEAD))
    rope = [graph.constant(f.__name__, f(angles).astype(np.float32)) for f in (np.cos, np.sin)]
    x = graph.embedding(shape)
    for index in range(shape.layers):
        x = _block(graph, f"{index}", x, shape, rope)
    graph.linear(graph.norm(x, "norm", shape.width), "scores", shape.width, VOCABULARY, ENDS)


def _block(graph: _Graph, at: str, x: str, shape: Shape, rope: Sequence[str]) -> str:
    width, heads = shape.width, shape.width // HEAD
    normed = graph.norm(x, f"{at}.norm1", width)
    q, k, v = (graph.linear(normed, f"{at}.{part}", width, width) for part in "qkv")
    graph.nodes.append(
        helper.make_node(
            "GroupQueryAttention",
            [q, k, v, f"past.{at}.key", f"past.{at}.value", "past", "total", *rope],
            [f"{at}.attention", f"present.{at}.key", f"present.{at}.value"],
            f"{at}.attention",
            domain=MICROSOFT,
            num_heads=heads,
            kv_num_heads=heads,
            do_rotary=1,
        )
    )
    x = graph.node("Add", (x, graph.linear(f"{at}.attention", f"{at}.o", width, width)), f"{at}.sum1")
    normed = graph.norm(x, f"{at}.norm2", width)
    gate, up = (graph.linear(normed, f"{at}.{part}", width, shape.inner) for part in ("gate", "up"))
    silu = graph.node("Mul", (gate, graph.node("Sigmoid", (gate,), f"{at}.sigmoid")), f"{at}.silu")
    inner = graph.node("Mul", (silu, up), f"{at}.inner")
    return graph.node("Add", (x, graph.linear(inner, f"{at}.down", shape.inner, width)), f"{at}.sum2")
