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

from compressor.devices.latency.calls import Call

__all__ = ["NodeTime", "by_call", "owners"]

_REACH = 4  # calls between a node's name and the call that it does
_REORDERS = ("ReorderInput", "ReorderOutput")


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
    calls: Sequence[Call], owner: Mapping[str, str], times: Sequence[NodeTime], natural: Mapping[str, str]
) -> dict[str, list[NodeTime]]:
    """The nodes that do each call, reorders left out. `natural` is the kind of call that a type of node mostly does."""
    known = {call.name: call for call in calls}
    found: dict[str, list[NodeTime]] = defaultdict(list)
    for time in times:
        name = owner.get(time.name, "")
        if name in known and not time.reorders:
            found[name].append(time)
    _to_natural_kinds(known, found, natural)
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


def _to_natural_kinds(
    known: Mapping[str, Call], found: dict[str, list[NodeTime]], natural: Mapping[str, str]
) -> None:
    """A max pool named after the quantize behind it goes to the pool beside it that nothing does yet."""
    beside: dict[str, set[str]] = defaultdict(set)
    for call in known.values():
        for operand in call.inputs:
            beside[call.name].add(operand.source)
            beside[operand.source].add(call.name)
    for name in list(found):
        for time in list(found[name]):
            kind = natural.get(time.type)
            if kind is None or known[name].kind == kind:
                continue
            idle = _nearest(name, beside, lambda other, kind=kind: other in known and known[other].kind == kind and other not in found)
            if idle:
                found[idle] = [time]
                found[name].remove(time)
        if not found[name]:
            del found[name]


def _nearest(start: str, beside: Mapping[str, set[str]], wanted: Any) -> str:
    reached, edge = {start}, {start}
    for _ in range(_REACH):
        edge = {other for name in edge for other in beside.get(name, ())} - reached
        hit = sorted(name for name in edge if wanted(name))
        if hit:
            return hit[0]
        reached |= edge
    return ""


def _to_main_calls(calls: Sequence[Call], found: dict[str, list[NodeTime]]) -> None:
    """A kernel's first node does its main call, whichever call it is named after."""
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
        found[main] = [found[first].pop(0)]
        if not found[first]:
            del found[first]


def _first(names: Iterable[str]) -> str:
    return next((name for name in names if name), "")
