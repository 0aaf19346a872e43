"""The works-when check of BitNet b1.58: a ternary GPT, trained as long as a float one, against rounding it afterwards.

    python benchmarks/bitnet_training.py [--seeds 3] [--steps 600] [--budget 3h]

Every arm goes on from the trained byte-level GPT of 1.9M parameters: *float* with its own loss; *ternary* with learned
steps in blocks of 32, and *bitnet* with one mean |w| a matrix and a norm before each product, with the float network as
teacher. All see the same windows for the same steps. *absmean* is BitNet's rounding without training. Finished cells
are kept in `results/bitnet.json`, and a later run goes on from there; a seed takes half an hour on one quiet core.
"""

from __future__ import annotations

import functools
import itertools
import math

import torch
from cells import Cells, arguments
from claims.claim import Claim, Figures, Goal
from claims.language import BATCH, subject
from works_when import report

from compressor.graph import edit
from compressor.graph.contract import Context
from compressor.passes.quantize import Quantize
from compressor.passes.quantizing.sites import find_layers
from compressor.passes.recover import recover
from compressor.quant import fake
from compressor.quant.blocks import round_by_block
from compressor.quant.codecs.base3 import pack_trits, unpack_trits
from compressor.quant.formats import PER_TENSOR
from compressor.quant.ternary import dequantize_ternary, quantize_ternary, ternary_bits
from compressor.targets.loader import load_target

__all__ = ["claims"]

BLOCK = 32
WIDTH = 2048  # of the random matrix


def main() -> int:
    parser = arguments(__doc__ or "", ["bitnet"], "3h")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    options = parser.parse_args()
    claim, cells = claims(options.steps), Cells("bitnet", options.budget)
    for seed, (arm, run) in itertools.product(range(options.seeds), claim.arms.items()):
        cells.measure(f"{claim.name} {arm} seed {seed}", functools.partial(run, seed))
    held = report(claim, cells, options.seeds)
    print(cells.took())
    return 0 if held else 1


def claims(steps: int) -> Claim:
    """The check at so many steps an arm."""
    return Claim(
        f"bitnet-{steps}", f"GPT of 1.9M, 36 ternary layers, {steps} steps of {BATCH} windows from the trained float",
        {
            "float": functools.partial(longer, steps),
            "ternary": functools.partial(trained, steps, "learned", False),
            "bitnet": functools.partial(trained, steps, "tensor", True),
            "absmean": afterwards,
            "arithmetic": arithmetic,
        },
        [
            Goal("learned steps against float", "ternary.perplexity", "float.perplexity", "ratio", 1.15),
            Goal("BitNet's mean and norms against float", "bitnet.perplexity", "float.perplexity", "ratio", 1.15),
            Goal("float against absmean without training", "float.perplexity", "absmean.perplexity", "ratio", 0.5),
            Goal("codes come back from base 3, and int32 sums are exact", "arithmetic.exact", "1", "points", 0.0),
            Goal("zeros of Gaussian weights, off 31% by", "arithmetic.zeros_off", "0.005", "ratio", 1.0),
            Goal("base 3 against their entropy", "arithmetic.base3", "arithmetic.entropy", "ratio", 1.02),
        ],
    )  # fmt: skip


def longer(steps: int, seed: int) -> Figures:
    """The float network, trained on for as many steps with the loss of the next byte."""
    done = recover(
        subject().program, subject().program, windows(steps, seed), f"{steps}steps", losses="task", seed=seed
    )
    return {"perplexity": subject().metric(done.program), "start": subject().metric(subject().program)}


def trained(steps: int, how: str, norm: bool, seed: int) -> Figures:
    batches = windows(steps, seed)
    context = Context(
        load_target("x86-64"), calibration=batches[:4], training=batches, teacher=subject().program, synthetic=False,
        seed=seed,
    )  # fmt: skip
    options = {"train": f"{steps}steps", "norm": norm}
    kind = {"format": "ternary", "block": BLOCK, "activation": "int8"}
    sites = {
        layer.name: kind | ({"rule": "absmean", "scale": "tensor"} if how == "tensor" else {}) for layer in linears()
    }
    result = Quantize(sites={**sites, "program": options}).run(subject().program, context)
    return {"perplexity": subject().metric(result.program), "layers": len(result.changed)}


def afterwards(seed: int) -> Figures:
    """BitNet's absmean of every linear layer's matrix, without training; activations stay float."""
    copy = edit.begin(subject().program)
    for layer in linears():
        rounded = dequantize_ternary(quantize_ternary(copy.get(layer.weight), "absmean", PER_TENSOR))
        edit.set_tensor(copy, layer.weight, rounded)
    return {"perplexity": subject().metric(edit.finish(copy))}


def arithmetic(seed: int) -> Figures:
    """Round trips and integer sums of random codes, and what Gaussian weights look like."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(WIDTH, WIDTH, generator=generator)
    codes = fake.absmean(weight, -1, 0).codes
    back = torch.equal(unpack_trits(pack_trits(codes), tuple(codes.shape)), codes)
    x = torch.randn(8, WIDTH, generator=generator)
    scale = x.abs().amax(-1, keepdim=True) / 127
    integers = torch.round(x / scale).to(torch.int32)
    exact = torch.equal((integers @ codes.T.to(torch.int32)).double(), integers.double() @ codes.T.double())
    same = torch.allclose(round_by_block(x, WIDTH), integers * scale)
    shares = [float((codes == code).float().mean()) for code in (-1, 0, 1)]
    entropy = -sum(share * math.log2(share) for share in shares)
    return {
        "exact": int(back and exact and same), "zeros": shares[1], "zeros_off": abs(shares[1] - 0.31),
        "entropy": entropy, "base3": ternary_bits((WIDTH, WIDTH), PER_TENSOR),
    }  # fmt: skip


def windows(steps: int, seed: int) -> list[dict[str, torch.Tensor]]:
    """As many as the steps take, each once."""
    return [dict(batch) for batch in subject().batches(BATCH * steps * 6 // 5, 1000 + seed)]


@functools.cache
def linears() -> list:  # type: ignore[type-arg]  of Layer, whose nodes are of the cached program
    return [layer for layer in find_layers(subject().program)[0] if layer.kind == "linear" and "blocks" in layer.name]


if __name__ == "__main__":
    raise SystemExit(main())
