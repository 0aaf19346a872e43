"""What sharing, unstructured sparsity and low rank do to five indicators of cost (The Efficiency Misnomer, 2021).

Sparsity is the pass `sparsify`, on the trained resnet. Sharing and low rank are on networks made by hand, with random
weights, since no indicator depends on the values; `structure.py` has the passes themselves on trained networks.
"""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import torch
from metering import in_turn, lowered, model_run, spread_of
from subjects import SUBJECTS
from torch import nn

from compressor.devices.local import compare
from compressor.devices.side_by_side import side_by_side
from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.cost import Roofline
from compressor.graph.program import Program
from compressor.passes.fold import Fold
from compressor.passes.sparsify import Sparsify
from compressor.report.indicators import Indicator
from compressor.targets import load_target

__all__ = ["indicators", "low_rank", "shared"]

SMALL, RANK, LAYERS = 64, 16, 12
SHARED = 128


def shared(width: int = SHARED, layers: int = 6) -> tuple[nn.Module, nn.Module]:
    """Linear layers of their own, and one that is used in place of all."""
    one = nn.Linear(width, width)
    own = (nn.Linear(width, width) for _ in range(layers))
    return _chain(own), _chain(itertools.repeat(one, layers))


def low_rank(width: int = SMALL, rank: int = RANK, layers: int = LAYERS) -> tuple[nn.Module, nn.Module]:
    """Linear layers, and each as a product of two of a lower rank: 2·rank/width of the multiply–accumulates."""
    dense = (nn.Linear(width, width) for _ in range(layers))
    factored = (nn.Sequential(nn.Linear(width, rank, bias=False), nn.Linear(rank, width)) for _ in range(layers))
    return _chain(dense), _chain(factored)


def _chain(layers: object) -> nn.Module:
    return nn.Sequential(*itertools.chain.from_iterable((layer, nn.ReLU()) for layer in layers)).eval()  # type: ignore[attr-defined]


def indicators(seconds: float = 0.3, repeats: int = 7) -> tuple[list[Indicator], str]:
    """Five indicators of each method, and how energies are known. Latency: rounds in turn, on one thread."""
    torch.manual_seed(0)
    found, source = [], ""
    for method, (before, after) in _pairs().items():
        rows, source = _indicators(method, before, after, seconds, repeats)
        found += rows
    return found, source


def _pairs() -> dict[str, tuple[Program, Program]]:
    subject = SUBJECTS["resnet"](1000)
    calibration = subject.batches(64, 0)
    context = Context(load_target("host"), latency=Roofline(), calibration=calibration, synthetic=False)
    dense = Fold().run(subject.program, context).program
    return {
        "sharing (by hand)": _captured(*shared(), SHARED),
        "unstructured sparsity (sparsify=0.5)": (dense, Sparsify(pattern="0.5").run(dense, context).program),
        "low rank at small width (by hand)": _captured(*low_rank(), SMALL),
    }


def _captured(before: nn.Module, after: nn.Module, width: int) -> tuple[Program, Program]:
    return capture(before, (torch.randn(2, width),)).program, capture(after, (torch.randn(2, width),)).program


def _indicators(
    method: str, before: Program, after: Program, seconds: float, repeats: int
) -> tuple[list[Indicator], str]:  # fmt: skip
    target = load_target("host")
    batch = {spec.name: tensor[:1] for spec, tensor in zip(before.inputs, before.example, strict=True)}
    macs = [Roofline().predict(program, target).macs for program in (before, after)]
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.onnx" for name in ("before", "after")}
        sizes = [lowered(p, target, path) for p, path in zip((before, after), paths.values(), strict=True)]
        measured = compare(paths, batch, threads=1)
        both = side_by_side(measured["before"], measured["after"])
        runs = max(1, round(1e3 * seconds / max(both.before, both.after)))  # a repeat of either takes so long
        joules, source = in_turn({name: model_run(path, [batch]) for name, path in paths.items()}, runs, repeats)
    ratios = sorted(new / old for old, new in zip(joules["before"], joules["after"], strict=True))
    middle = spread_of(ratios, 1)  # from the least to the most of the repeats
    rows = [
        Indicator.counted(method, "parameters that are not zero", _not_zero(before), _not_zero(after)),
        Indicator.counted(method, "MACs", *macs),
        Indicator.counted(method, "bytes", *sizes),
        Indicator(method, "latency", both.low, both.ratio, both.high),
        Indicator(method, "energy", middle.low, middle.value, middle.high),
    ]
    return rows, source


def _not_zero(program: Program) -> int:
    """Each stored tensor once."""
    tensors = {(t.untyped_storage().data_ptr(), t.storage_offset()): t for t in program.tensors().values()}
    return sum(int(torch.count_nonzero(tensor)) for tensor in tensors.values())
