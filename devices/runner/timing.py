"""Times functions in rounds that go through all of them in turn.

A clock change or another process then falls on all of them alike. A function's turn is a block of runs; the first of
several is left out, because it finds another model's data in the caches. The order is reversed after each round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["Subject", "interleave", "thinned"]

BLOCK_SECONDS = 0.03  # one model's share of a round


class Subject:
    """A function and what it has had: `runs`, `seconds` in all of them, and `rounds`."""

    def __init__(self, run: Callable[[], object], runs: int = 0, seconds: float = 0.0, rounds: int = 0) -> None:
        self.run, self.runs, self.seconds, self.rounds = run, runs, seconds, rounds

    def once(self) -> float:
        """Seconds of one run, which is not counted."""
        start = time.perf_counter()
        self.run()
        return time.perf_counter() - start

    def warm_up(self, seconds: float) -> None:
        """Run until so many seconds have passed."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            self.once()

    def block(self) -> list[float]:
        """One turn: seconds of each run, one at least."""
        end = time.perf_counter() + BLOCK_SECONDS
        times = [self.once()]
        while time.perf_counter() < end:
            times.append(self.once())
        return self.had(times[1:] or times)

    def had(self, times: list[float]) -> list[float]:
        """Count a turn."""
        self.runs += len(times)
        self.seconds += sum(times)
        self.rounds += 1
        return times

    def close(self) -> None:
        """Let go of what it holds besides the function."""
        return


def interleave(
    subjects: Mapping[str, Subject], *, min_runs: float, min_seconds: float, min_rounds: float = 0,
    deadline: float | None = None,
) -> Iterator[dict[str, list[float]]]:  # fmt: skip
    """Rounds, each the seconds of every run by subject, until all have had `min_runs`, `min_seconds` and `min_rounds`.

    Past `deadline` (of `time.perf_counter`) it ends as soon as each has run at all.
    """

    def wants(name: str) -> bool:
        had = subjects[name]
        return had.runs < min_runs or had.seconds < min_seconds or had.rounds < min_rounds

    waiting = [name for name in subjects if wants(name)]
    while waiting:
        late = deadline is not None and time.perf_counter() >= deadline
        if late and all(subjects[name].runs for name in waiting):
            return
        yield {name: subjects[name].block() for name in waiting}
        waiting = [name for name in reversed(waiting) if wants(name)]


def thinned(times: Sequence[float], limit: int = 256) -> list[float]:
    """At most `limit` of the times, in order, at evenly spaced ranks: their quantiles to one in `limit`."""
    ordered, count = sorted(times), len(times)
    if count <= limit:
        return ordered
    return [ordered[int((rank + 0.5) * count / limit)] for rank in range(limit)]
