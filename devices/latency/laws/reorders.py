"""The copies between layouts of maps that the runtime puts in: where, and what they are priced by.

    into the blocked layout     before a blocked convolution or pool, once a value; not an image
    out of it                   after a blocked call that anything unblocked reads, or that is a result
    channels last and back      bytes, around convolutions of int8 (`channels_last.py`)

They belong to no call of the program; their time is booked on the kernel that makes them necessary.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from compressor.devices.latency.laws.channels_last import turns_of
from compressor.devices.latency.laws.numbers import USUAL, Core, Numbers, moved
from compressor.graph.calls import Call

__all__ = ["ELEMENTS", "blocks_of", "reorders_of", "together"]

ELEMENTS = 2e3  # copied in a nominal microsecond


def reorders_of(calls: Sequence[Call], blocked: Mapping[str, bool], core: Core = USUAL) -> dict[str, list[Numbers]]:
    """The copies by the call that they are booked on; blocks are of as many channels as lanes."""
    found = blocks_of(calls, blocked, core)
    for name, listed in turns_of(calls).items():
        found.setdefault(name, []).extend(_turned(way, elements) for way, elements in listed)
    return found


def blocks_of(calls: Sequence[Call], blocked: Mapping[str, bool], core: Core = USUAL) -> dict[str, list[Numbers]]:
    """Those into the blocked layout and out of it."""
    found: dict[str, list[Numbers]] = defaultdict(list)
    readers: dict[str, list[Call]] = defaultdict(list)
    known = {call.name: call for call in calls}
    turned: set[str] = set()
    for call in calls:
        for operand in call.inputs:
            readers[operand.source].append(call)
        first = call.inputs[0] if call.inputs else None
        if first is None or not blocked.get(call.name) or blocked.get(first.source) or first.source in turned:
            continue
        if call.kind in ("conv2d", "pool") and len(first.shape) == 4 and first.shape[1] >= core.lanes:
            turned.add(first.source)
            found[call.kernel or call.name].append(_numbers("input", first.bytes, core))
    for call in calls:
        out = not readers[call.name] or any(not blocked.get(reader.name) for reader in readers[call.name])
        if blocked.get(call.name) and out:
            owner = call.kernel if call.kernel in known else call.name
            found[owner].append(_numbers("output", call.bytes, core))
    return dict(found)


def together(numbers: Sequence[Numbers]) -> Numbers:
    """One whose terms are the sums of theirs."""
    terms: dict[str, float] = defaultdict(float)
    for each in numbers:
        for name, value in each.terms.items():
            terms[name] += value
    return Numbers(dict(terms))


def _numbers(way: str, amount: float, core: Core) -> Numbers:
    return Numbers({f"{way} copies": 2.0, f"{way} elements": amount / 4 / ELEMENTS} | moved(way, 2.0 * amount, core))


def _turned(way: str, elements: int) -> Numbers:
    """Of bytes."""
    return Numbers({f"turned-{way} copies": 2.5, f"turned-{way} elements": elements / 3 / ELEMENTS})
