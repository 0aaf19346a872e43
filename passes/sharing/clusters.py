"""Which neighbouring blocks share one set of weights.

    pairs      0 1 | 2 3 | 4 5              as many as asked, from the front; all of them where so many are asked
    cka        merge the two neighbouring clusters whose blocks at the seam have the highest CKA, until k are left
    sandwich   0 | 1 2 3 4 | 5              the first and the last block keep their own (Reid, Marrese-Taylor, Matsuo,
                                            2021, Subformer, arXiv:2101.00234)

(CKA: Zhang et al., 2023, CRaSh, arXiv:2310.15477. The seam is the last block of the left cluster and the first of the
right one.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

__all__ = ["Groups", "agglomerated", "central", "grouped"]

Groups = Literal["pairs", "cka", "sandwich"]
Cluster = tuple[int, ...]


def grouped(groups: Groups, count: int, size: int, alike: Callable[[], Sequence[float]]) -> list[Cluster]:
    """The places 0 … `count` − 1 of a chain's blocks, in clusters of neighbours.

    `size`: blocks a cluster, of pairs exactly and of cka on average. `alike`: CKA of each block with the next one.
    """
    everything = tuple(range(count))
    if groups == "sandwich":
        return [part for part in (everything[:1], everything[1:-1], everything[1:][-1:]) if part]
    if groups == "cka":
        return agglomerated(alike(), -(-count // size))
    return [everything[start : start + size] for start in range(0, count, size)]


def agglomerated(alike: Sequence[float], clusters: int) -> list[Cluster]:
    """`alike[i]` compares blocks i and i + 1. The most alike are merged first, of equal ones the earlier."""
    found: list[Cluster] = [(place,) for place in range(len(alike) + 1)]
    while len(found) > max(clusters, 1):
        seams = [alike[left[-1]] for left in found[:-1]]
        best = max(range(len(seams)), key=lambda seam: (seams[seam], -seam))
        found[best : best + 2] = [found[best] + found[best + 1]]
    return found


def central(cluster: Cluster) -> int:
    """The place in the middle; of two, the first."""
    return cluster[(len(cluster) - 1) // 2]
