"""Which format each layer has in a step of training for several budgets: every budget in turn, layers by chance.

    b = π_t(budgets);  f_l ~ uniform;  then random layers go a format down while Σ bits(l, f_l) |w_l| > b Σ |w_l|,
    and up while they fit

Formats drawn by layer alone would nearly always have the mean number of bits, since their sum concentrates there, and
the smallest and largest networks would hardly be trained. π_t is a new order of the budgets each time all had their
turn, so no rate has to be tuned. (After the balanced sampling of Yi et al., 2024, One QuantLLM for ALL,
arXiv:2405.20202.)
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Schedule", "Site"]

FACES = 2  # networks of each budget that are judged


@dataclass(frozen=True)
class Site:
    """A layer's stored choice by name, its weights, and the bytes of each of its formats, rising."""

    choice: str
    weights: int
    bytes: tuple[int, ...]

    def chosen(self, pick: int) -> Tensor:
        """The stored choice (formats): 1 for one, 0 for the others."""
        return torch.eye(len(self.bytes))[pick]


@dataclass(frozen=True)
class Schedule:
    """`recover`'s variants; `budgets` in bits a weight on average over the sites, scales included."""

    sites: tuple[Site, ...]
    budgets: tuple[float, ...]
    seed: int = 0

    def at(self, step: int) -> Mapping[str, Tensor]:
        """The stored choices of a step."""
        turn, place = divmod(step, len(self.budgets))
        order = random.Random(f"{self.seed} {turn}").sample(self.budgets, len(self.budgets))
        return self._values(self.draw(order[place], f"{self.seed} step {step}"))

    def judged(self) -> Sequence[Mapping[str, Tensor]]:
        """Some networks of every budget."""
        return [self._values(self.draw(b, f"{self.seed} face {n}")) for b in self.budgets for n in range(FACES)]

    def draw(self, budget: float, seed: str) -> list[int]:
        """A format for each site, together within the budget and near it, or the fewest bytes of all."""
        chance = random.Random(seed)
        picks = [chance.randrange(len(site.bytes)) for site in self.sites]
        room = int(budget * sum(site.weights for site in self.sites) / 8) - self.stored(picks)
        while room < 0 and (lower := [n for n, pick in enumerate(picks) if pick]):
            chosen = chance.choice(lower)
            picks[chosen] -= 1
            room += self._step(chosen, picks[chosen])
        while higher := [n for n, pick in enumerate(picks) if self._fits(n, pick, room)]:
            chosen = chance.choice(higher)
            room -= self._step(chosen, picks[chosen])
            picks[chosen] += 1
        return picks

    def stored(self, picks: Sequence[int]) -> int:
        """Bytes."""
        return sum(site.bytes[pick] for site, pick in zip(self.sites, picks, strict=True))

    def _step(self, site: int, pick: int) -> int:
        return self.sites[site].bytes[pick + 1] - self.sites[site].bytes[pick]

    def _fits(self, site: int, pick: int, room: int) -> bool:
        return pick + 1 < len(self.sites[site].bytes) and self._step(site, pick) <= room

    def _values(self, picks: Sequence[int]) -> dict[str, Tensor]:
        return {site.choice: site.chosen(pick) for site, pick in zip(self.sites, picks, strict=True)}
