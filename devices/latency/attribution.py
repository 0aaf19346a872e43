"""Which call of a program each node of the runtime's optimized graph does, and how long each call takes.

    our ONNX graph ─ the runtime optimizes ─▶ its own nodes, timed one by one ─▶ calls

The runtime keeps the names of values that survive, names its own nodes after them (`relu_3_nchwc`), and drops the rest.
So a node belongs to the call whose value it makes; a node that makes an intermediate value belongs to the call that
the value leads to. Where calls were fused, the node bears the name of the last one: it is given to the kernel's main
call when that has none. What takes time and belongs to no call by name follows its reader.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compressor.graph.calls import Call

__all__ = ["NATURAL", "NodeTime", "by_call", "owners"]

_REACH = 4  # calls between a node's name and the call that it does
_REORDERS = ("ReorderInput", "ReorderOutput")

# What a type of node does by its very name, in ONNX Runtime: operators or kinds of call.
NATURAL: Mapping[str, frozenset[str]] = {
    kind: frozenset(does)
    for types, does in (
        (("Conv", "FusedConv", "QLinearConv", "NhwcFusedConv"), ("conv2d",)),
        (("Gemm", "QGemm", "MatMulNBits", "MatMulIntegerToFloat"), ("linear",)),
        (("MaxPool", "NhwcMaxPool", "AveragePool", "QLinearAveragePool"), ("pool",)),
        (("GlobalAveragePool", "QLinearGlobalAveragePool"), ("pool",)),
        (("LayerNormalization", "SkipLayerNormalization"), ("norm",)),
        (("GRU", "LSTM", "RNN"), ("recurrent",)),
        (("FusedMatMul",), ("matmul", "linear", "attention")),
        (("Split",), ("chunk", "split", "split_with_sizes", "tensor_split", "unbind", "slice", "select")),
        (("ConvTranspose",), ("conv_transpose",)),
        (("QuickGelu",), ("silu",)),
        (("QLinearSigmoid",), ("elementwise",)),
        (("QLinearConcat",), ("layout",)),
        (("QuantizeLinear",), ("quantize",)),
        (("DequantizeLinear",), ("dequantize",)),
    )
    for kind in types
}
_NAMED_WELL = frozenset({"conv2d", "linear"})  # not looked for in other kernels: a norm may run as a convolution


@dataclass(frozen=True)
class NodeTime:
    """One node of the optimized graph: its type as "domain.Type" (no domain for ONNX's own), the call that `owners`
    found for it ("" for none), and microseconds."""

    name: str
    type: str
    call: str
    microseconds: float

    @property
    def reorders(self) -> bool:
        """Whether it only changes the layout that blocked convolutions work in."""
        return self.type.rpartition(".")[2] in _REORDERS


def owners(model: Any, optimized: Any, calls: Sequence[Call], results: Iterable[str]) -> dict[str, str]:
    """The call that each node of `optimized` does, by the node's name; "" where nothing tells.

    `model` and `optimized` are ONNX protos, the second written by the runtime; `results` are the program's returned
    values in the order of the model's outputs.
    """
    values = _value_owners(model, {call.name for call in calls}, results)
    nodes = {node.name: _first(values.get(value, "") for value in node.output) for node in model.graph.node}
    readers: dict[str, list[str]] = defaultdict(list)
    found: dict[str, str] = {}
    for node in reversed(optimized.graph.node):
        known = [values.get(value) or nodes.get(value, "") for value in node.output]
        followers = [found[reader] for value in node.output for reader in readers[value]]
        found[node.name] = _first([*known, _named(node.name, values), nodes.get(node.name, ""), *followers])
        for value in node.input:
            readers[value].append(node.name)
    return found


def by_call(
    calls: Sequence[Call],
    owner: Mapping[str, str],
    times: Sequence[NodeTime],
    natural: Mapping[str, frozenset[str]] = NATURAL,
) -> dict[str, list[NodeTime]]:
    """The nodes that do each call, reorders left out.

    `natural` is what a type of node does whatever it is named after: operators or kinds of call.
    """
    known = {call.name: call for call in calls}
    found: dict[str, list[NodeTime]] = defaultdict(list)
    for time in times:
        name = owner.get(time.name, "")
        if name in known and not time.reorders:
            found[name].append(time)
    _to_natural_calls(known, found, natural)
    _to_main_calls(calls, found)
    return dict(found)


def _value_owners(model: Any, names: set[str], results: Iterable[str]) -> dict[str, str]:
    """The call that makes each value of our own graph: by name, or the one that an intermediate value leads to."""
    found = {value.name: name for value, name in zip(model.graph.output, results, strict=True)}
    for node in reversed(model.graph.node):
        for value in node.output:
            if value in names:
                found.setdefault(value, value)
        leads_to = _first(found.get(value, "") for value in node.output)
        for value in node.input:
            if value not in names:
                found.setdefault(value, leads_to)
    return found


def _named(name: str, values: Mapping[str, str]) -> str:
    """The owner of the value that a node of the runtime's own is named after."""
    while name:
        if values.get(name):
            return values[name]
        name = name.rpartition("_")[0]
    return ""


def _to_natural_calls(
    known: Mapping[str, Call], found: dict[str, list[NodeTime]], natural: Mapping[str, frozenset[str]]
) -> None:
    """A node named after what it does not do goes to the nearest call that it does and that nothing does yet.

    A node without a name of its own stands with what reads it, so what makes the inputs of that kernel comes first.
    """
    misnamed: list[tuple[str, NodeTime, frozenset[str]]] = []
    for name in list(found):
        for time in list(found[name]):
            does = natural.get(time.type.rpartition(".")[2])
            if does is not None and not does & {known[name].kind, known[name].op}:
                misnamed.append((name, time, does))
                found[name].remove(time)
        if not found[name]:
            del found[name]
    beside = _neighbours(known) if misnamed else {}
    for name, time, does in misnamed:
        idle = [call.name for call in known.values() if does & {call.kind, call.op} and call.name not in found]
        kernel = known[name].kernel
        fellows = [other for other in idle if kernel and known[other].kernel == kernel]
        members = [call for call in known.values() if call.name == name or (kernel and call.kernel == kernel)]
        makers = [operand.source for call in members for operand in call.inputs if operand.source in idle]
        makers = [maker for maker in makers if known[maker].kernel != kernel or not kernel]
        near = "" if does & _NAMED_WELL else _nearest(name, beside, set(idle))
        found[_first([*makers, *fellows, near, name])].append(time)


def _neighbours(known: Mapping[str, Call]) -> dict[str, set[str]]:
    beside: dict[str, set[str]] = defaultdict(set)
    for call in known.values():
        for operand in call.inputs:
            beside[call.name].add(operand.source)
            beside[operand.source].add(call.name)
    return beside


def _nearest(start: str, beside: Mapping[str, set[str]], wanted: set[str]) -> str:
    reached, edge = {start}, {start}
    for _ in range(_REACH):
        edge = {other for name in edge for other in beside.get(name, ())} - reached
        if edge & wanted:
            return min(edge & wanted)
        reached |= edge
    return ""


def _to_main_calls(calls: Sequence[Call], found: dict[str, list[NodeTime]]) -> None:
    """The longest of a kernel's first nodes does its main call, whichever call it is named after."""
    kernels: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        if call.kernel:
            kernels[call.kernel].append(call)
    for main, members in kernels.items():
        if main in found:
            continue
        first = next((call.name for call in members if call.name in found), None)
        if first is None:
            continue
        longest = max(found[first], key=lambda time: time.microseconds)
        found[first].remove(longest)
        found[main] = [longest]
        if not found[first]:
            del found[first]


def _first(names: Iterable[str]) -> str:
    return next((name for name in names if name), "")
