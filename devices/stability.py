"""Whether a run's times can be believed, judged by the run itself.

    throttled     the board says that it slowed down: vcgencmd's bits before or after, or bits that came up during the
                  run; a zone at the temperature where the kernel begins to slow it; x86's count of throttling rose
    unstable      drift:   |median of the last third of rounds / of the first third − 1| > 5%
                  spread:  p90 / p50 > 1.25
                  clock:   median clock of the last third of rounds < 95% of the first third's

The bounds are wide: what stays within them changes no ranking, for models are compared within rounds.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from compressor.devices.figures import Figures

__all__ = ["throttling", "unsteadiness"]

DRIFT = 0.05
SPREAD = 1.25
CLOCK = 0.95
LEAST = 6  # rounds; thirds of fewer say nothing


def throttling(states: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why the times are of a slowed board, from its states in order: sentences, none where it was not."""
    found: list[str] = []
    for state in states:
        found += _hot(state)
        found += [f"the board reports: {bit}" for bit in _bits(state, "now")]
    for before, after in itertools.pairwise(states):
        new = set(_bits(after, "occurred")) - set(_bits(before, "occurred")) - set(_bits(after, "now"))
        found += [f"during the run the board reported: {bit}" for bit in sorted(new)]
        first, last = before.get("throttle_count"), after.get("throttle_count")
        if first is not None and last is not None and last > first:
            found.append(f"the processor throttled {last - first:.0f} times during the run")
    return list(dict.fromkeys(found))


def unsteadiness(bundles: Sequence[Figures], clocks: Sequence[float | None]) -> list[str]:
    """Why the times may not repeat; `clocks` are the rounds' in MHz. Sentences, none where they are steady."""
    found = []
    for each in bundles:
        first, last = _thirds([each.rounds[index] for index in sorted(each.rounds)])
        if first and abs(last / first - 1) > DRIFT:
            found.append(f"{each.name} drifted by {last / first - 1:+.0%} from the first to the last rounds")
        if each.p90 > SPREAD * each.p50:
            found.append(f"{each.name} varies: its p90 is {each.p90 / each.p50:.2f} times its p50")
    first, last = _thirds([clock for clock in clocks if clock is not None])
    if last < CLOCK * first:
        found.append(f"the clock fell from {first:.0f} to {last:.0f} MHz")
    return found


def _thirds(values: Sequence[float]) -> tuple[float, float]:
    """Medians of the first and the last third; 0 and 0 of too few."""
    if len(values) < LEAST:
        return 0.0, 0.0
    third = len(values) // 3
    return median(values[:third]), median(values[-third:])


def _hot(state: Mapping[str, Any]) -> list[str]:
    limits, now = state.get("limits", {}), state.get("temperatures", {})
    return [
        f"{zone} is at {now[zone]:.0f} °C, and the kernel slows it from {limit:.0f} °C on"
        for zone, limit in limits.items()
        if zone in now and now[zone] >= limit
    ]


def _bits(state: Mapping[str, Any], when: str) -> list[str]:
    return list(state.get("throttled", {}).get(when, ()))
