"""What a causal language model with a key–value cache is timed with and shown by: made of the texts it is judged on.

    reading   128 tokens at once, nothing before them        until the first token of an answer
    step      1 token behind 128                             each further one
    midway    the second half of at most 32 tokens           golden vectors, and the example that it is exported with

Texts are cut or repeated to these lengths; a model that takes fewer places gets as many as it takes.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from compressor.graph.concrete import READING, STEP
from compressor.graph.kv_cache import going_on, least_of, length_of, of_length, window_of, with_past
from compressor.graph.naming import PAST, SEQUENCE
from compressor.graph.program import Program
from compressor.synthetic import accepts

__all__ = ["midway", "places_of", "reading", "step"]

_SHOWN = (8, 32)


def reading(program: Program, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The batch's texts, 128 tokens of them, with an empty past."""
    return _text(program, batch, READING[SEQUENCE])


def step(program: Program, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The last token of each text, with what the program keeps of the 128 before as its past."""
    text = _text(program, batch, STEP[PAST] + STEP[SEQUENCE])
    return going_on(program, text, length_of(program.inputs, text) - STEP[SEQUENCE])


def midway(program: Program, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The second half of the texts' first tokens, with the first half as past; where the cache is cut to a window, of
    more tokens than fit into it: on fewer, nothing is cut, and an export from them would have lost it."""
    least, most = _SHOWN
    length = min(max(length_of(program.inputs, batch), least), most)
    window = window_of(program)
    text = _text(program, batch, length if window is None else max(length, least_of(window)))
    return going_on(program, text, length_of(program.inputs, text) // 2)


def places_of(program: Program, batch: Mapping[str, Tensor], most: int) -> int:
    """How long a text the program takes, `most` at most."""
    lengths = [most, most - 1, *(1 << power for power in range(most.bit_length() - 1, 1, -1))]
    for places in (length for length in dict.fromkeys(lengths) if length > 1):
        text = with_past(program.inputs, of_length(program.inputs, batch, places))
        if accepts(lambda values: program.module(*values), program.flatten(text)):
            return places
    return length_of(program.inputs, batch)


def _text(program: Program, batch: Mapping[str, Tensor], length: int) -> dict[str, Tensor]:
    """Texts of that length, or the longest that the model has places for."""
    text = of_length(program.inputs, batch, places_of(program, batch, length))
    return dict(with_past(program.inputs, text))
