"""The copies between the plain and the blocked layout that the runtime puts in: where, and what they are priced by.

    into the blocked layout     before a blocked convolution of 8 channels and more, or a blocked pool, once a value
    out of it                   after a blocked call that anything unblocked reads, or that is a result

They belong to no call of the program; their time is booked on the kernel that makes them necessary.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from compressor.devices.latency.calls import Call
from compressor.devices.latency.laws.groups import FEW_CHANNELS
from compressor.devices.latency.laws.numbers import Numbers, moved

__all__ = ["ELEMENTS", "reorders_of", "together"]

ELEMENTS = 2e3  # copied in a nominal microsecond


def reorders_of(calls: Sequence[Call], blocked: Mapping[str, bool]) -> dict[str, list[Numbers]]:
    """The copies by the call that they are booked on."""
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
        if call.kind in ("conv2d", "pool") and len(first.shape) == 4 and first.shape[1] >= FEW_CHANNELS:
            turned.add(first.source)
            found[call.kernel or call.name].append(_numbers("input", first.bytes))
    for call in calls:
        out = not readers[call.name] or any(not blocked.get(reader.name) for reader in readers[call.name])
        if blocked.get(call.name) and out:
            owner = call.kernel if call.kernel in known else call.name
            found[owner].append(_numbers("output", call.bytes))
    return dict(found)


def together(numbers: Sequence[Numbers]) -> Numbers:
    """One whose terms are the sums of theirs."""
    terms: dict[str, float] = defaultdict(float)
    for each in numbers:
        for name, value in each.terms.items():
            terms[name] += value
    return Numbers(dict(terms))


def _numbers(way: str, amount: float) -> Numbers:
    return Numbers({f"{way} copies": 2.0, f"{way} elements": amount / 4 / ELEMENTS} | moved(way, 2.0 * amount))
