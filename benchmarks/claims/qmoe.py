"""QMoE: what its dictionary costs by the share of zeros, and what its solver is worth on MiniLM.

    bits      16 · words / weights of what was really encoded; codes drawn, or rounded from normal weights
    error     ‖(W − Ŵ) X‖ / ‖W X‖ of a linear layer, root mean square of all; Ŵ on {min, 0, max} of each row

(arXiv:2310.16795.) The solver sees the inputs of 128 sentences, the error is of others. A seed draws codes and
sentences.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from subjects import SUBJECTS, Subject
from torch import Tensor, fx

from compressor.graph.contract import Batch
from compressor.graph.program import Program
from compressor.passes.quantizing.sites import Layer, find_layers
from compressor.passes.reading.samples import visit
from compressor.quant.codecs.base3 import pack_trits, unpack_trits
from compressor.quant.codecs.choose import choose_codec
from compressor.quant.codecs.dictionary import decode_rows, encode_rows
from compressor.quant.solvers.gptq import gptq
from compressor.quant.ternary import PER_ROW, Rule, quantize_ternary

from .claim import Claim, Figures, Goal

__all__ = ["CLAIMS", "column_of", "drawn", "encoded"]

ROWS, WIDTH = 1024, 1024
ZEROS = 0.885  # of QMoE's experts
PUBLISHED = 57  # sixty-fourths: its dictionary
SAMPLES, DAMPING = 128, 0.1


def drawn(zeros: float, seed: int) -> Tensor:
    """Codes of which that share is zero, and the rest of either sign."""
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (ROWS, WIDTH), generator=generator) * 2 - 1
    return torch.where(torch.rand(ROWS, WIDTH, generator=generator) < zeros, 0, signs).to(torch.int8)


def normal(rule: Rule, seed: int) -> Tensor:
    """The codes of normal weights."""
    weight = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(seed))
    return quantize_ternary(weight, rule, PER_ROW).codes


def encoded(make: Callable[[int], Tensor], expected: str, seed: int) -> Figures:
    """Both codecs' bits, the published dictionary's, and 1 where all decode to the same and `expected` is chosen."""
    codes = make(seed)
    words, published = encode_rows(codes), encode_rows(codes, PUBLISHED)
    trits = pack_trits(codes)
    backs = (decode_rows(words), decode_rows(published), unpack_trits(trits, tuple(codes.shape)))
    return {
        "zeros": float((codes == 0).float().mean()),
        "dictionary": 16 * len(words.words) / codes.numel(),
        "published": 16 * len(published.words) / codes.numel(),
        "base3": 8 * len(trits) / codes.numel(),
        "exact": float(all(torch.equal(back, codes) for back in backs)),
        "chosen": float(choose_codec(codes) == expected),
    }


# ---------------------------------------------------------------------------------------------------------- solver


@functools.cache
def subject() -> Subject:
    return SUBJECTS["minilm"](4096)


def layers() -> list[Layer]:
    return [layer for layer in find_layers(subject().program)[0] if layer.kind == "linear"]


@functools.lru_cache(maxsize=2)
def grams(seed: int) -> dict[fx.Node, Tensor]:
    """Σ x xᵀ of every linear layer's inputs."""
    program: Program = subject().program
    batches: list[Batch] = subject().batches(SAMPLES, seed)
    watched = {node: layer.data(node) for layer in layers() for node in layer.nodes}
    found: dict[fx.Node, Tensor] = {}

    def look(node: fx.Node, args: tuple[Any, ...], _: Any) -> None:
        if node in watched:
            rows = args[0].flatten(0, -2).double()
            found[node] = found.get(node, torch.zeros(())) + rows.T @ rows

    visit(program, batches, look)
    return found


def column_of(weight: Tensor, rule: Rule) -> Callable[[Tensor, int], Tensor]:
    """Nearest of {low, 0, high} of each row, for one column."""
    grid = quantize_ternary(weight, rule, PER_ROW)
    low, high = grid.low.double(), grid.high.double()

    def nearest(column: Tensor, _: int) -> Tensor:
        return torch.where(column > high / 2, high, torch.where(column < low / 2, low, torch.zeros_like(high)))

    return nearest


def solved(rule: Rule, solver: bool, seed: int) -> Figures:
    """Error on sentences that the solver did not see; a rule gives the rows' grids."""
    seen, others = grams(seed), grams(seed + 1000)
    shares = list(_errors(rule, solver, seen, others))
    return {"error": math.sqrt(sum(shares) / len(shares))}


def _errors(rule: Rule, solver: bool, seen: dict[fx.Node, Tensor], others: dict[fx.Node, Tensor]) -> Iterator[float]:
    for layer in layers():
        weight: Tensor = subject().program.get(layer.weight).detach()
        nearest, node = column_of(weight, rule), layer.nodes[0]
        if solver:
            rounded = gptq(weight, seen[node], nearest, damping=DAMPING)
        else:
            rounded = torch.stack([nearest(column, 0) for column in weight.double().T], 1)
        lost, gram = weight.double() - rounded.double(), others[node]
        yield float(((lost @ gram) * lost).sum() / ((weight.double() @ gram) * weight.double()).sum())


CODES = {
    "drawn": functools.partial(encoded, functools.partial(drawn, ZEROS), "dictionary"),
    "minmax": functools.partial(encoded, functools.partial(normal, "minmax"), "dictionary"),
    "absmean": functools.partial(encoded, functools.partial(normal, "absmean"), "base3"),
}
QMOE = Claim(
    "qmoe", f"{ROWS}×{WIDTH} codes, and the linear layers of all-MiniLM-L6-v2",
    {
        **CODES,
        **{
            f"{solver}-{rule}": functools.partial(solved, rule, solver == "gptq")
            for solver in ("nearest", "gptq") for rule in ("minmax", "fitted")
        },
    },
    [
        *(Goal(f"{arm} codes decode to the bit", f"{arm}.exact", "1", "points", 0) for arm in CODES),
        *(Goal(f"{arm} codes get the codec meant for them", f"{arm}.chosen", "1", "points", 0) for arm in CODES),
        Goal("88.5% zeros: bits a weight against the 0.74 of QMoE's", "drawn.dictionary", "0.74", "ratio", 1),
        Goal("normal rows rounded to min, 0, max: at least 87% zeros", "minmax.zeros", "0.87", "points", 0),
        Goal("absmean's codes: base 3 against the dictionary for 88.5% zeros", "absmean.base3", "absmean.published",
             "ratio", 0.67),
        Goal("absmean's codes: their own dictionary against base 3", "absmean.dictionary", "absmean.base3",
             "ratio", 1.01),
        Goal("GPTQ's output error against nearest's on {min, 0, max}", "gptq-minmax.error", "nearest-minmax.error",
             "ratio", 0.7),
        Goal("the same with the best scale of each row", "gptq-fitted.error", "nearest-fitted.error", "ratio", 0.7),
    ],
)  # fmt: skip

CLAIMS = (QMOE,)
