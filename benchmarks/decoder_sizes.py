"""Sizes of decoders in LLaMA's shape: OPT's widths, depths and heads (Zhang et al., 2022, arXiv:2205.01068), LLaMA's
inner width (two thirds of four times the width, in whole 256s) and vocabulary (Touvron et al., 2023, arXiv:2302.13971).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SIZES", "Size"]


@dataclass(frozen=True)
class Size:
    width: int
    depth: int
    heads: int
    groups: int  # heads of keys and values
    inner: int
    vocabulary: int = 32000

    @property
    def parameters(self) -> int:
        of_keys = 2 * self.width * self.width // self.heads * self.groups
        block = 2 * self.width**2 + of_keys + 3 * self.width * self.inner + 2 * self.width
        return self.depth * block + 2 * self.vocabulary * self.width + self.width


SIZES = {
    "1M": Size(128, 2, 4, 2, 384, 512),  # to try things out
    "125M": Size(768, 12, 12, 12, 2048),
    "350M": Size(1024, 24, 16, 16, 2816),
    "1.3B": Size(2048, 24, 32, 32, 5632),
}
