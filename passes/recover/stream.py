"""Training batches: mixed anew each epoch, the same for the same seed, from any step on.

    epoch e: the batches in the order of permutation(seed, e), by pools of 16; a pool's samples permuted and cut

Only a pool lies in memory, so that mapped files stay on disk. Batches whose shapes differ beyond the batch axis are
pooled with their like. Where some input has no batch axis, the batches are taken as they were given.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from compressor.graph.contract import Batch
from compressor.graph.naming import PAST_KEY_VALUES
from compressor.graph.program import Program

__all__ = ["Stream", "batch_inputs", "counts_samples", "held_out", "rows"]

POOL = 16
HELD_SHARE = 6  # one batch in six is not trained on
HELD_SAMPLES = 512  # at most
ENOUGH = 4  # batches from which on some are held out
LABELS = "labels"


def batch_inputs(program: Program) -> frozenset[str]:
    """The inputs whose dimension 0 counts samples; empty where that cannot be told of all of them."""
    first = {spec.name: spec.shape[0] if spec.shape else 1 for spec in program.inputs}
    named = [counts_samples(size) for size in first.values()]
    if all(named) or (len(set(first.values())) == 1 and not any(named)):
        return frozenset(first)
    return frozenset()


def counts_samples(size: int | str) -> bool:
    """Whether a dimension's size is the batch, by its name."""
    return str(size).rpartition(".")[2] == "batch"


def rows(batch: Batch, inputs: frozenset[str]) -> int:
    """How many samples a batch holds; 1 where it is taken whole."""
    return next((batch[name].shape[0] for name in sorted(inputs)), 1)


def held_out(batches: Sequence[Batch], inputs: frozenset[str]) -> tuple[list[int], list[int]]:
    """Which batches are trained on, and which only judged by: every sixth from the end, 512 samples at most.

    With fewer than four batches both are all of them.
    """
    every = list(range(len(batches)))
    if len(every) < ENOUGH:
        return every, every
    held: list[int] = []
    samples = 0
    for index in every[:: -max(2, min(HELD_SHARE, len(every)))]:
        held.append(index)
        samples += rows(batches[index], inputs)
        if samples >= HELD_SAMPLES:
            break
    return [index for index in every if index not in held], sorted(held)


class Stream:
    """Batches of `size` samples out of the chosen ones. What does not fill a batch at a pool's end is left out, unless
    it is all there is."""

    def __init__(
        self, batches: Sequence[Batch], chosen: Sequence[int], inputs: frozenset[str], size: int | None, seed: int
    ) -> None:
        self.batches, self.inputs, self.seed = batches, inputs, seed
        self.groups: dict[str, list[tuple[int, int]]] = {}
        for index in chosen:
            batch = batches[index]
            shape = str([(name, tuple(batch[name].shape[1:])) for name in sorted(batch)]) if inputs else str(index)
            self.groups.setdefault(shape, []).append((index, rows(batch, inputs)))
        most = max(sum(count for _, count in group) for group in self.groups.values())
        self.size = min(size or max(count for group in self.groups.values() for _, count in group), most)
        self.per_epoch = len(self._epoch(0))

    def at(self, step: int) -> Iterator[Batch]:
        """The batches from a step on, without end."""
        epoch, skipped = divmod(step, self.per_epoch)
        while True:
            yield from self._from(epoch, skipped)
            epoch, skipped = epoch + 1, 0

    def first(self, count: int) -> list[Batch]:
        """Up to `count` batches of the first epoch."""
        return list(itertools.islice(self._from(0, 0), count))

    def _from(self, epoch: int, skipped: int) -> Iterator[Batch]:
        pool: tuple[int, ...] = ()
        samples: dict[str, Tensor] = {}
        for wanted, start, seed in self._epoch(epoch)[skipped:]:
            if wanted != pool:
                pool, samples = wanted, self._mixed(wanted, seed)
            yield {name: self._part(name, tensor, start) for name, tensor in samples.items()}

    def _part(self, name: str, tensor: Tensor, start: int) -> Tensor:
        return tensor[start : start + self.size] if self._is_cut(name) else tensor

    def _is_cut(self, name: str) -> bool:
        """A cache that the student has no more of is cut, too: its teacher may have it."""
        return bool(self.inputs) and (name in self.inputs or name == LABELS or name.startswith(f"{PAST_KEY_VALUES}."))

    def _mixed(self, pool: Sequence[int], seed: int) -> dict[str, Tensor]:
        """The samples of a pool in a random order."""
        found = [self.batches[index] for index in pool]
        if not self.inputs:
            return dict(found[0])
        order = torch.randperm(
            sum(rows(batch, self.inputs) for batch in found), generator=torch.Generator().manual_seed(seed)
        )
        return {
            name: torch.cat([batch[name] for batch in found])[order] if self._is_cut(name) else found[0][name]
            for name in found[0]
        }

    def _epoch(self, epoch: int) -> list[tuple[tuple[int, ...], int, int]]:
        """One epoch's batches as (pool, first sample, seed of its order)."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        pools: list[tuple[tuple[int, ...], int]] = []
        for group in self.groups.values():
            order = [group[i] for i in torch.randperm(len(group), generator=generator).tolist()]
            wide = POOL if self.inputs else 1
            wide = max(wide, -(-self.size // max(1, min(count for _, count in group))))
            parts = [order[i : i + wide] for i in range(0, len(order), wide)]
            if len(parts) > 1 and sum(count for _, count in parts[-1]) < self.size:
                parts[-2:] = [parts[-2] + parts[-1]]
            pools += [(tuple(index for index, _ in part), sum(count for _, count in part)) for part in parts]
        mixed = [pools[i] for i in torch.randperm(len(pools), generator=generator).tolist()]
        cuts = []
        for pool, count in mixed:
            seed = int(torch.randint(2**31, (), generator=generator))
            starts = range(0, max(1, count - self.size + 1), self.size) if self.inputs else (0,)
            cuts += [(pool, start, seed) for start in starts]
        return cuts
