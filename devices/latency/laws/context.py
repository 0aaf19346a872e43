"""Where each call of a network stands: what made its first input, who else reads that, and the weights of all.

origin(x)  = x's maker, looked through views and dequantizes, which runtimes fold into the reader
summed(x)  : origin(x) adds two values that both change from one inference to the next, and nobody else reads the sum
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from compressor.devices.latency.laws.channels_last import channels_last
from compressor.devices.latency.laws.numbers import USUAL, Context, Core
from compressor.graph.calls import Call

__all__ = ["contexts_of", "origin"]


def contexts_of(
    calls: Sequence[Call], blocked: Mapping[str, bool], core: Core = USUAL, alone: Collection[str] = ()
) -> dict[str, Context]:
    """By the call's name; `blocked` says which calls work in the blocked layout, `alone` which sums stay operators of
    their own."""
    known, lies = {call.name: call for call in calls}, channels_last(calls)
    weights = sum(call.weight_bytes for call in calls)
    everything = weights + sum(call.bytes for call in calls)
    first: dict[str, str] = {}
    readers: Counter[str] = Counter()
    for call in calls:
        sources = [origin(operand.source, known) for operand in call.inputs]
        first[call.name] = sources[0] if sources else ""
        if not _looked_through(call):
            readers.update(set(sources))
    found, fixed = {}, _fixed(calls)
    for call in calls:
        source = first[call.name]
        maker = known[source].op if source in known else ""
        last = any(lies.get(operand.source, False) for operand in call.inputs)
        direct = call.inputs[0].source if call.inputs else ""
        rounded = direct in known and known[direct].kind == "dequantize"
        found[call.name] = Context(
            blocked.get(call.name, False), weights, everything, maker, readers[source] > 1, last, rounded,
            maker == "add" and source not in alone and readers[source] == 1 and _changing(known[source], fixed) == 2,
            core,
        )  # fmt: skip
    return found


def _fixed(calls: Sequence[Call]) -> set[str]:
    """Calls that only weights go into: they are done when the model is loaded."""
    found: set[str] = set()
    for call in calls:
        if all(operand.source in found for operand in call.inputs):
            found.add(call.name)
    return found


def _changing(call: Call, fixed: set[str]) -> int:
    return sum(operand.source not in fixed for operand in call.inputs)


def origin(name: str, known: Mapping[str, Call]) -> str:
    """The call, or input of the network, whose value this one is."""
    while name in known and _looked_through(known[name]) and known[name].inputs:
        name = known[name].inputs[0].source
    return name


def _looked_through(call: Call) -> bool:
    return not call.kernel or call.kind == "dequantize"
