"""Where a sequence repeats itself: the steps of a stream, cut into blocks.

A M A M A M        →  [A M] [A M] [A M]
R R R              →  [R] [R] [R]
A M B M            →  [A M] [B M]        nothing repeats: a mixer goes with the MLP behind it
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Run", "periods"]

Run = list[range]  # consecutive blocks that are equal, each a range of steps


def periods(keys: Sequence[str], gaps: Sequence[bool], kinds: Sequence[str]) -> list[Run]:
    """All steps in runs of equal blocks, in order. A block has no gap inside; `gaps[i]` is behind step i."""
    best = _longest(keys, gaps)
    if best is None:
        return _single(gaps, kinds)
    start, period, count = best
    end = start + period * count
    run = [range(at, at + period) for at in range(start, end, period)]
    before = periods(keys[:start], gaps[:start], kinds[:start])
    after = periods(keys[end:], gaps[end:], kinds[end:])
    return [*before, run, *([range(b.start + end, b.stop + end) for b in each] for each in after)]


def _longest(keys: Sequence[str], gaps: Sequence[bool]) -> tuple[int, int, int] | None:
    """Start, period and count of what covers most steps by repeating; of several the shortest period, the first."""
    found: list[tuple[int, int, int]] = []
    for start in range(len(keys)):
        for period in range(1, (len(keys) - start) // 2 + 1):
            if any(gaps[start : start + period - 1]):
                break
            count = _repeats(keys, gaps, start, period)
            if count > 1:
                found.append((count * period, -period, -start))
    if not found:
        return None
    covered, period, start = max(found)
    return -start, -period, covered // -period


def _repeats(keys: Sequence[str], gaps: Sequence[bool], start: int, period: int) -> int:
    count, first = 1, list(keys[start : start + period])
    while True:
        at = start + count * period
        if list(keys[at : at + period]) != first or any(gaps[at : at + period - 1]):
            return count
        count += 1


def _single(gaps: Sequence[bool], kinds: Sequence[str]) -> list[Run]:
    runs: list[Run] = []
    at = 0
    while at < len(kinds):
        pair = list(kinds[at : at + 2]) == ["mixer", "mlp"] and not gaps[at]
        runs.append([range(at, at + 2 if pair else at + 1)])
        at = runs[-1][0].stop
    return runs
