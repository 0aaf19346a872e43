"""Calls made by hand, and networks of them timed on a device that follows a simple law."""

from __future__ import annotations

import math
from collections.abc import Sequence

from compressor.devices.latency.attribution import NodeTime
from compressor.devices.latency.measured import Measured
from compressor.graph.calls import Call, Operand

__all__ = ["call", "conv", "linear", "network", "networks", "relu"]

Shape = tuple[int, ...]


def call(name: str, op: str, kind: str, shape: Shape, *inputs: tuple[str, Shape], **more: object) -> Call:
    """One call that is its own kernel, of single precision; `weights` are shapes, the rest as in `Call`."""
    weights: Sequence[Shape] = more.pop("weights", ())  # type: ignore[assignment]
    operands = [Operand(s, 4 * math.prod(s), source) for source, s in inputs]
    operands += [Operand(s, 4 * math.prod(s), "") for s in weights]
    known = {
        "format": "fp32", "shapes": (shape,), "bytes": 4 * math.prod(shape), "operands": tuple(operands),
        "arguments": (), "macs": 0, "kernel": name, "anchor": kind, "main": True, **more,
    }  # fmt: skip
    return Call(name=name, op=op, kind=kind, **known)  # type: ignore[arg-type]


def conv(
    name: str, source: str, channels: int, filters: int, side: int, kernel: int = 3, stride: int = 1, groups: int = 1,
    **more: object,
) -> Call:  # fmt: skip
    out = -(-side // stride)
    weight = (filters, channels // groups, kernel, kernel)
    arguments = (None, None, None, (stride, stride), (kernel // 2, kernel // 2), (1, 1), groups)
    macs = math.prod(weight) * out * out
    given = {"weights": (weight,), "arguments": arguments, "macs": macs, **more}
    return call(name, "conv2d", "conv2d", (1, filters, out, out), (source, (1, channels, side, side)), **given)


def relu(name: str, of: Call) -> Call:
    """Fused into the call that it follows."""
    return call(
        name, "relu", "elementwise", of.shape, (of.name, of.shape), kernel=of.kernel, anchor=of.anchor, main=False
    )


def linear(name: str, source: str, rows: int, inner: int, columns: int, **more: object) -> Call:
    given = {"weights": ((columns, inner),), "macs": rows * inner * columns, **more}
    return call(name, "linear", "linear", (1, rows, columns), (source, (1, rows, inner)), **given)


def network(seed: int, style: str = "plain") -> Measured:
    """Blocked convolutions with a relu each, and a linear layer; the device's own law is `_takes`."""
    channels, calls, source = 8 * (1 + seed % 5), list[Call](), "x"
    side = 14 + 7 * (seed % 3)
    for place in range(5):
        filters = 8 * (1 + (seed * 3 + place * 5) % 11)
        one = conv(f"conv_{place}", source, channels, filters, side, 3 if (seed + place) % 3 else 1)
        calls += [one, relu(f"relu_{place}", one)]
        channels, source = filters, f"relu_{place}"
    calls.append(linear("linear", source, 20 + seed, 96 + 8 * seed, 64 + 16 * (seed % 7)))
    nodes = [NodeTime(f"{c.name}_nchwc", _type(c), c.name, _takes(c) + 3.0) for c in calls if c.op != "relu"]
    return Measured(f"{style}-{seed}", style, 1, tuple(calls), tuple(nodes), sum(map(_takes, calls)))


def networks(count: int = 14) -> list[Measured]:
    styles = ("plain", "residual", "dense", "wide", "deep")
    return [network(seed, styles[seed % len(styles)]) for seed in range(count)]


def _type(one: Call) -> str:
    return "com.microsoft.nchwc.Conv" if one.kind == "conv2d" else "MatMul"


def _takes(one: Call) -> float:
    """Microseconds: nothing for what is fused, else 20 GMAC a second and 8 GB a second, and 4 for the call."""
    if one.op == "relu":
        return 0.0
    moved = one.bytes + one.read_bytes + one.weight_bytes
    return 4.0 + one.macs / 20e3 + moved / 8e3
