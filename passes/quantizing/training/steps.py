"""Learned steps of weights: where they start, how a graph rounds by them, and the codes that they stand for.

ŵ = clamp(round(w / s), low, high) · s,   s = s₀ · e^θ        s₀ is what rounding without training takes
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from compressor.graph.contract import Setting
from compressor.graph.edit import insert
from compressor.graph.program import Program
from compressor.passes.quantizing.codes.rounding import rounding_of
from compressor.passes.quantizing.codes.weights import matrix_of
from compressor.passes.quantizing.settings import block_of, format_of, is_block, weight_format
from compressor.passes.quantizing.sites import Layer
from compressor.passes.reading.matrix import from_matrix, to_matrix
from compressor.quant import fake
from compressor.quant.blocks import BLOCK_FORMATS, quantize_blocks
from compressor.quant.formats import Format, Granularity, choose_qparams, spread
from compressor.quant.grids import Grid, Share, ternary_grid
from compressor.quant.solvers.rounding import Rounded

__all__ = ["Step", "codes_by", "first_step", "format_in", "grid_of", "grouping", "insert_rounding"]

_AXES = {"tensor": -1, "row": 0, "block": 1}


@dataclass(frozen=True)
class Step:
    """Where a learned step lies: its start and its gain."""

    scale: str
    gain: str

    def value(self, program: Program) -> Tensor:
        return fake.learned(program.get(self.scale).detach(), program.get(self.gain).detach())


def first_step(program: Program, layer: Layer, setting: Setting) -> Tensor:
    """What rounding without training takes."""
    if not is_block(setting):
        return choose_qparams(program.get(layer.weight), weight_format(setting), Granularity(layer.axis)).scale
    weight, matrix, format = program.get(layer.weight), matrix_of(program, layer), format_in(setting)
    axis, block = grouping(setting)
    if axis < 1:  # ternary, by tensor or by row
        share: Share = "tensor" if axis < 0 else "row"
        scale = ternary_grid(matrix, format, block_of(setting), share=share).scale[:, 0]
        return scale.clone() if share == "row" else scale[0].clone()
    scale = quantize_blocks(matrix, format, block).scales
    return from_matrix(scale, weight[:, : scale.shape[1] // math.prod(weight.shape[2:])], layer.kind)


def insert_rounding(
    program: Program, source: fx.Node, step: tuple[fx.Node, fx.Node], blend: fx.Node, layer: Layer, setting: Setting
) -> fx.Node:
    """A call, before the layer's first, that rounds a weight by a step's start and gain."""
    format = format_in(setting)
    axis, block = grouping(setting) if is_block(setting) else (layer.axis, 0)
    if is_block(setting) and layer.axis and axis >= 0:
        axis = 1 - axis
    args = (source, *step, blend, int(format.low), int(format.high), axis, block, False)
    return insert(program, torch.ops.compressor.fake_weight.default, args, like=min(layer.nodes))


def codes_by(program: Program, layer: Layer, setting: Setting, step: Tensor) -> Rounded:
    """The codes of the layer's weight, as the program has it, on the grid of a step."""
    weight: Tensor = program.get(layer.weight).detach()
    format = format_in(setting)
    if not is_block(setting):
        exact = torch.round(weight / spread(step, weight, Granularity(layer.axis)))
        codes = to_matrix(torch.clamp(exact, format.low, format.high).to(torch.int8), layer.kind).flatten(0, 1)
        return Rounded(codes, Grid(format, codes.shape[1], step.unsqueeze(1)))
    matrix = matrix_of(program, layer)
    by_matrix = to_matrix(step, layer.kind)[0] if step.dim() > 1 else step
    grid = grid_of(by_matrix, matrix, format, block_of(setting))
    return Rounded(grid.codes(matrix), grid)


def grid_of(scale: Tensor, matrix: Tensor, format: Format, block: int) -> Grid:
    """A grid of scales by tensor, row or block, each repeated for every block of a matrix (N, K)."""
    scale = scale if scale.dim() == 2 else scale.reshape(-1, 1)
    whole = scale.expand(len(matrix), -(-matrix.shape[1] // block)).contiguous()
    return Grid(format, block, torch.where(whole == 0, torch.ones_like(whole), whole))


def format_in(setting: Setting) -> Format:
    """The format of the weight itself."""
    return BLOCK_FORMATS[format_of(setting)] if is_block(setting) else weight_format(setting)


def grouping(setting: Setting) -> tuple[int, int]:
    """The axis of a matrix (N, K) and the run along it that share a scale in blocks; axis −1 is all of it."""
    axis = _AXES[rounding_of(setting).share]
    return axis, block_of(setting) if axis == 1 else 0
