"""Passes: one file each. `fold` lives in `passes/fold.py` as `Fold`; this table finds it without importing it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from compressor.errors import RecipeError, did_you_mean

if TYPE_CHECKING:
    from compressor.graph.contract import Pass

__all__ = ["ALIASES", "PASSES", "SHORTHANDS", "find_pass"]

PASSES: dict[str, str] = {
    "drop": "compressor.passes.drop:Drop",
    "elastic": "compressor.passes.elastic:Elastic",
    "factorize": "compressor.passes.factorize:Factorize",
    "fold": "compressor.passes.fold:Fold",
    "linearize": "compressor.passes.linearize:Linearize",
    "prune": "compressor.passes.prune:Prune",
    "quantize": "compressor.passes.quantize:Quantize",
    "recover": "compressor.passes.recover:Recover",
    "share": "compressor.passes.share:Share",
    "sparsify": "compressor.passes.sparsify:Sparsify",
}

# A number format's name alone is short for `quantize=…`.
SHORTHANDS: dict[str, tuple[str, str]] = {
    name: ("quantize", name) for name in ("int8", "fp16", "bf16", "int4", "int3", "int2", "ternary", "mixed")
}

ALIASES = {"distill": "recover"}


def find_pass(name: str) -> type[Pass]:
    """The class of a pass. Raises RecipeError for an unknown name."""
    name = ALIASES.get(name, name)
    if name not in PASSES:
        raise RecipeError(f"there is no pass called {name!r}", way_out=did_you_mean(name, [*PASSES, *SHORTHANDS]))
    module, _, attribute = PASSES[name].partition(":")
    found: type[Pass] = getattr(importlib.import_module(module), attribute)
    return found
