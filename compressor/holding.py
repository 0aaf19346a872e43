"""What a pass left alone, with the bytes that it so held back.

    bytes(site) = Σ bytes of the stored tensors called `site` or `site.…`

Of "kind:site" the part behind the colon is the site.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from compressor.graph.contract import Skip
from compressor.graph.program import Program
from compressor.report.model import SkippedSite

__all__ = ["skipped_sites"]


def skipped_sites(program: Program, skipped: Iterable[Skip]) -> tuple[SkippedSite, ...]:
    """What a pass said on a program; a site that is no layer or tensor of it holds nothing back."""
    held = _bytes_by_name(program)
    return tuple(
        SkippedSite(skip.site, skip.reason, skip.whole, 0 if skip.whole else held[skip.site.rpartition(":")[2]])
        for skip in skipped
    )


def _bytes_by_name(program: Program) -> Counter[str]:
    """Of every stored tensor, and of every module with all that is in it."""
    held: Counter[str] = Counter()
    for name, tensor in program.tensors().items():
        path, size = name, tensor.numel() * tensor.element_size()
        while path:
            held[path] += size
            path = path.rpartition(".")[0]
    return held
