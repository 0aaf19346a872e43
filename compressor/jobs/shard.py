"""`--shard i/n`: which jobs of a list are this process's, when n processes of a job array share it.

job k (from 0) is of shard i (from 1)  ⇔  k mod n = i − 1
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from compressor.errors import InputError

__all__ = ["Shard", "parse_shard"]


@dataclass(frozen=True)
class Shard:
    """The `index`-th, from 1, of `count`."""

    index: int = 1
    count: int = 1

    def has(self, position: int) -> bool:
        """Whether the job at a position in the list, from 0, is of this shard."""
        return position % self.count == self.index - 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def parse_shard(text: str | None) -> Shard:
    """Raises InputError for what is none; all there is, where none is given."""
    if text is None:
        return Shard()
    match = re.fullmatch(r"\s*(\d{1,6})/(\d{1,6})\s*", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise InputError(f"{text!r} is no shard", where="--shard", way_out="Write 1/8, 2/8, … 8/8: it counts from 1.")
    return Shard(int(match[1]), int(match[2]))
