"""Names for a captured graph's inputs, outputs and dynamic dimensions, from the structure that the model was given.

forward(ids, state=(h, c)) → {"logits": x}      ids, state.0, state.1 → logits
s77 × 16                                        batch × 16; 2·s77 → 2*batch
past_key_values.0.key                           batch × 4 × past × 64
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from compressor.graph.signature import TensorSpec, flat_names

__all__ = ["BATCH", "PAST", "PAST_KEY_VALUES", "SEQUENCE", "input_specs", "output_names", "output_specs"]

BATCH, SEQUENCE, PAST = "batch", "sequence", "past"
PAST_KEY_VALUES = "past_key_values"  # the input whose members are a key–value cache
_SYMBOL = re.compile(r"\b[su]\d+\b")


def input_specs(names: Sequence[str], values: Sequence[Tensor]) -> tuple[tuple[TensorSpec, ...], dict[str, str]]:
    """Specs from fake values, and the words chosen for their symbols.

    A symbol is named by the first dimension that is that symbol, or else carries it: `batch` for dimension 0,
    `sequence` for the others (`past` in a key–value cache), with the input's name before it where another symbol has
    that word. Inputs that nothing in the graph ties together still come in one batch, where the example's sizes agree.
    """
    words: dict[str, str] = {}
    batch = next((_hint(v.shape[0]) for v in values if v.dim() and _symbols(v.shape[0])), None)
    dimensions = [(n, i, size) for n, value in zip(names, values, strict=True) for i, size in enumerate(value.shape)]
    for name, index, size in sorted(dimensions, key=lambda each: not _is_symbol(each[2])):
        for symbol in _symbols(size):
            if symbol in words:
                continue
            word = BATCH if index == 0 else PAST if name.startswith(f"{PAST_KEY_VALUES}.") else SEQUENCE
            shared = index == 0 and _hint(size) == batch
            words[symbol] = word if shared or word not in words.values() else _free(f"{name}.{word}", words)
    return tuple(_spec(name, value, words) for name, value in zip(names, values, strict=True)), words


def output_specs(names: Sequence[str], values: Sequence[Tensor], words: Mapping[str, str]) -> tuple[TensorSpec, ...]:
    """Specs from fake values, with the inputs' words for the symbols."""
    return tuple(_spec(name, value, words) for name, value in zip(names, values, strict=True))


def output_names(exported: ExportedProgram, count: int, taken: Sequence[str]) -> list[str]:
    """A name for each of `count` output leaves, from the structure that the model returned, none of them `taken`."""
    names = flat_names(pytree.tree_unflatten(list(range(count)), exported.call_spec.out_spec))
    if len(set(names)) != count:
        names = [f"output_{i}" for i in range(count)]
    found: list[str] = []
    for name in names:
        found.append(_free(f"{name}_out", (*taken, *found, *names)) if name in taken else name)
    return found


def _free(name: str, taken: Sequence[str] | Mapping[str, str]) -> str:
    used = set(taken.values() if isinstance(taken, Mapping) else taken)
    numbered = (f"{name}_{i}" for i in range(2, len(used) + 3))
    return name if name not in used else next(n for n in numbered if n not in used)


def _symbols(size: Any) -> list[str]:
    """The symbols in a dimension, in order; none in a fixed one."""
    return [] if _fixed(size) is not None else _SYMBOL.findall(str(size))


def _is_symbol(size: Any) -> bool:
    """Whether a dimension is one symbol, and no arithmetic."""
    return _fixed(size) is None and _SYMBOL.fullmatch(str(size)) is not None


def _hint(size: Any) -> int:
    """The example's size."""
    return int(size.node.hint) if isinstance(size, torch.SymInt) else int(size)


def _fixed(size: Any) -> int | None:
    if isinstance(size, torch.SymInt):
        found: int | None = size.node.maybe_as_int()
        return found
    return int(size)


def _spelled(text: str) -> str:
    """A sum of words in one order, whatever the symbols were numbered."""
    terms = text.split(" + ")
    return " + ".join(sorted(terms)) if all(term.isidentifier() for term in terms) else text


def _spec(name: str, value: Tensor, words: Mapping[str, str]) -> TensorSpec:
    def dimension(size: Any) -> int | str:
        fixed = _fixed(size)
        return fixed if fixed is not None else _spelled(_SYMBOL.sub(lambda m: words.get(m[0], m[0]), str(size)))

    return TensorSpec(name, value.dtype, tuple(dimension(size) for size in value.shape))
