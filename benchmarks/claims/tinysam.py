"""TinySAM's search for scales: the ViT in 8 bits throughout, as it is and with one channel 50 times as large.

    norm(x)_c → 50 · norm(x)_c,   W_{·c} → W_{·c} / 50        in front of attention and of the MLP

The float network computes the same; a range that holds the channel has steps too wide for the others. No layer may stay
float, and nothing is folded: that would move the norms' factors into W. Searched are the range of every value, by its
squared error, and the scales of channels, by the layers' output error; the other way is min–max alone. (TinySAM,
arXiv:2312.13789.) Accuracy of the ONNX files on all 10,000 test images; a seed draws calibration data and channel.
"""

from __future__ import annotations

import copy
import functools
from dataclasses import replace

import torch
from artifact import as_lowered
from models import load
from subjects import SUBJECTS, Subject
from torch import nn

from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.passes.quantize import Quantize
from compressor.targets.loader import load_target

from .claim import Claim, Figures, Goal

__all__ = ["CLAIMS", "scaled"]

TESTS, SAMPLES, TIMES = 10000, 128, 50.0
WAYS = {"minmax": {"calibrator": "minmax", "equalize": "none"}, "search": {"calibrator": "mse", "equalize": "auto"}}


@functools.cache
def subject() -> Subject:
    return SUBJECTS["vit"](TESTS)


def scaled(model: nn.Module, seed: int, times: float = TIMES) -> nn.Module:
    """A copy in which one channel of every norm before a linear layer is larger, and which computes the same."""
    model = copy.deepcopy(model)
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for block in model.blocks:
            for norm, linear in ((block.norm1, block.attention.qkv), (block.norm2, block.mlp[0])):
                channel = int(torch.randint(linear.in_features, (), generator=drawn))
                norm.weight[channel] *= times
                norm.bias[channel] *= times
                linear.weight[:, channel] /= times
    return model


def quantized(way: str, large: bool, seed: int) -> Figures:
    """Accuracy in one of the ways, or in float."""
    one, target = subject(), load_target("host")
    if large:
        one = replace(one, program=capture(scaled(load("vit"), seed), tuple(one.program.example)).program)
    if way == "float":
        return as_lowered(one, one.program, target)
    context = Context(target, calibration=one.batches(SAMPLES, seed), synthetic=False, seed=seed)
    done = Quantize(max_error=1.0, solver="nearest", bias="none", **WAYS[way])  # type: ignore[arg-type]
    return as_lowered(one, done.run(one.program, context).program, target)


TINYSAM = Claim(
    "tinysam", "the ViT of 1.2M in W8A8, calibrated on 128 images",
    {
        **{name: functools.partial(quantized, name, False) for name in ("float", *WAYS)},
        **{f"{name}-large": functools.partial(quantized, name, True) for name in WAYS},
    },
    [
        Goal("the search loses at most 0.3 points to float", "search.accuracy", "float.accuracy", "points", -0.003),
        Goal("one channel 50 times as large: the search beats min–max", "search-large.accuracy",
             "minmax-large.accuracy", "points", 0.001),
    ],
)  # fmt: skip

CLAIMS = (TINYSAM,)
