"""Options that the others leave without effect: refused with the way out, not passed over.

    drop:by=greedy:steps=9     steps are of by=gates            share=4:groups=sandwich     it counts no blocks

What has its default value counts as not given. Recipes are not asked: their sites say everything.
"""

from __future__ import annotations

from collections.abc import Iterable

from compressor.errors import RecipeError
from compressor.graph.contract import Pass

__all__ = ["refuse_idle"]


def refuse_idle(given: Pass, names: Iterable[str], because: str, way_out: str = "") -> None:
    """Raises RecipeError for the first of these options that was given: `because` (an option that was chosen, as it is
    written) takes no notice of it. `way_out`: what to do but leave it out."""
    for name in names if not given.sites else ():
        if getattr(given, name) != getattr(type(given), name):
            raise RecipeError(
                f"{because} takes no notice of {name}", where=given.name,
                way_out=f"Leave {name} out{f', or {way_out}' if way_out else ''}.",
            )  # fmt: skip
