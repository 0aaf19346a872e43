"""A layer's output error with some scale on its inputs, weights and activations rounded as they will be.

‖ W x − Ŵ′ x̂′ ‖² / ‖ W x ‖²        W′ = W·s,  x′ = x/s
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, fx

from compressor.graph.contract import Context, Setting
from compressor.graph.edit import argument
from compressor.graph.program import Program
from compressor.passes.quantizing.choosing.plan import activation_format_of, weight_format_of
from compressor.passes.quantizing.choosing.support import block_setting, refusal
from compressor.passes.quantizing.codes.rounding import Rounding, plain_solver
from compressor.passes.quantizing.codes.solving import round_as
from compressor.passes.quantizing.settings import block_of, format_of, is_block
from compressor.passes.quantizing.sites import Layer
from compressor.passes.quantizing.writing.blocks import misfit
from compressor.passes.reading.matrix import rows_of, to_matrix
from compressor.quant.blocks import BLOCK_FORMATS, round_by_block
from compressor.quant.formats import INT8, Format, choose_qparams, dequantize, quantize

__all__ = ["Trial", "Watched", "trial_of"]

ROWS = 256  # positions that a layer is judged by


@dataclass
class Watched:
    """What a layer reads: by channel the reach and the extremes, and sampled rows (groups × positions × inputs)."""

    total: Tensor | float = 0.0
    count: int = 0
    low: Tensor | None = None
    high: Tensor | None = None
    rows: list[Tensor] = field(default_factory=list)

    def observe(self, node: fx.Node, data: Tensor, weight: Tensor, kind: str, batches: int) -> None:
        """Take in one call's input."""
        axis = data.dim() - weight.dim() + 1 if kind == "conv" else data.dim() - 1
        flat = data.detach().float().movedim(axis, -1).flatten(0, -2)
        low, high = flat.amin(0), flat.amax(0)
        self.low = low if self.low is None else torch.minimum(self.low, low)
        self.high = high if self.high is None else torch.maximum(self.high, high)
        self.total, self.count = self.total + flat.abs().sum(0), self.count + len(flat)
        self.rows.append(rows_of(node, data, weight, kind, ROWS // batches + 1).detach().float())

    @property
    def extremes(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest value of each channel."""
        if self.low is None or self.high is None:
            raise ValueError("nothing was observed")
        return self.low, self.high

    def reach(self, *, integer: bool) -> Tensor:
        """max|x_j| where all channels are rounded by one scale, mean|x_j| where they are not."""
        low, high = self.extremes
        return torch.maximum(-low, high) if integer else torch.as_tensor(self.total) / max(self.count, 1)


@dataclass(frozen=True)
class Trial:
    """How layers will be rounded: the setting of their weights, and `activation` where they are static.

    `limit` is the relative output error above which a layer would stay float.
    """

    program: Program
    setting: Setting
    activation: Format | None = None
    limit: float = 0.0

    @property
    def fold(self) -> str:
        """Which inputs count for a scale: see `equalize.py`."""
        return "awq" if self.activation is None else "smooth"

    def rounds(self, layer: Layer) -> bool:
        """Whether this layer's weight will be."""
        if is_block(self.setting):
            return not misfit(self.program, layer, format_of(self.setting), block_of(self.setting))
        return layer.kind in ("conv", "linear", "matmul")

    def error(self, layer: Layer, weight: Tensor, scaled: Tensor, columns: Tensor, watched: Watched) -> float:
        """The squared relative error; 0 for a layer that stays float. `columns` are s by input channel."""
        if not self.rounds(layer):
            return 0.0
        groups = int(argument(layer.nodes[0], "groups")) if layer.kind == "conv" else 1
        exact, matrix = (to_matrix(value, layer.kind, groups) for value in (weight, scaled))
        rows = torch.cat(watched.rows, 1)
        divisor = columns.view(groups, -1)
        reads = rows / divisor.repeat(1, matrix.shape[-1] // divisor.shape[1]).unsqueeze(1)
        stored = round_as(matrix, self.setting, None).values.view_as(matrix)
        before, after = rows @ exact.mT, self._read(reads, columns, watched) @ stored.mT
        size = float(before.double().square().sum())
        return float((after - before).double().square().sum()) / size if size else 0.0

    def _read(self, rows: Tensor, columns: Tensor, watched: Watched) -> Tensor:
        if self.activation is not None:
            low, high = (float((extreme / columns).aminmax()[place]) for place, extreme in enumerate(watched.extremes))
            qparams = choose_qparams((min(low, 0.0), max(high, 0.0)), self.activation)
            return dequantize(quantize(rows, qparams), qparams)
        return round_by_block(rows, block_of(self.setting)) if "activation" in self.setting else rows


def trial_of(program: Program, format: str, block: int, mode: str, rounding: Rounding, context: Context) -> Trial:
    """For a format of `quantize` and its options, on the target. Weights are tried without gptq, which takes long."""
    plain = replace(
        rounding, solver=rounding.solver if rounding.solver != "gptq" else plain_solver(format), bias="none"
    )
    if format in BLOCK_FORMATS and not refusal(context.target, format):
        setting = {**block_setting(context.target, format, block), **plain.setting(format)}
        return Trial(program, setting)
    activation = activation_format_of(context.target) if mode != "weight-only" else None
    weights = weight_format_of(context.target) if activation is not None else INT8
    plain = replace(plain, solver=plain_solver("int8")) if format in BLOCK_FORMATS else plain
    return Trial(program, {"format": "int8", "weights": weights.name, **plain.setting("int8")}, activation)
