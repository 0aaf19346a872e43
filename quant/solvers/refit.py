"""Scales that fit given codes best as the layer's inputs see them.

    s = argmin ‖ (w − Σ_b s_b c_b) X ‖²        A s = r,    A_bb' = c_bᵀ H c_b',    r_b = c_bᵀ H w,    H = X Xᵀ

c_b are a row's codes in block b, zero elsewhere: as many equations a row as it has scales, or one where a row or the
whole matrix shares one.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from compressor.quant.formats import SMALLEST_SCALE, cut
from compressor.quant.grids import Grid, Share

__all__ = ["output_error", "refit"]

_RIDGE = 1e-6  # of the mean diagonal: blocks of zeros have no equation


def refit(weight: Tensor, gram: Tensor, codes: Tensor, grid: Grid, share: Share = "block") -> Grid:
    """The grid with the scales that codes (N, K) ask for; where that is no scale (zero), the old one stays.

    `gram` is H (K, K). A grid with two scales is returned as it is.
    """
    if grid.below is not None:
        return grid
    whole, hessian = codes.double(), gram.double()
    parts = cut(whole, grid.block)  # (N, B, block)
    wanted = (parts * cut(weight.double() @ hessian, grid.block)).sum(-1)
    if share == "block":
        equations = torch.stack([_row(whole, hessian, parts, start, grid.block) for start in range(parts.shape[1])], 1)
        diagonal = equations.diagonal(dim1=1, dim2=2)
        ridge = _RIDGE * diagonal.mean(1, keepdim=True).clamp(min=SMALLEST_SCALE) * torch.ones_like(diagonal)
        pull = ridge * grid.scale.double()  # towards the old scale
        found = torch.linalg.solve(equations + torch.diag_embed(ridge), wanted + pull)
    else:
        energy = ((whole @ hessian) * whole).sum(1)
        if share == "tensor":
            wanted, energy = wanted.sum(0, keepdim=True), energy.sum(0, keepdim=True)
        found = (wanted.sum(1) / energy.clamp(min=SMALLEST_SCALE)).unsqueeze(1)
    found = found.expand_as(grid.scale)
    usable = torch.isfinite(found) & (found.abs() > SMALLEST_SCALE)
    return replace(grid, scale=torch.where(usable, found.float(), grid.scale))


def output_error(weight: Tensor, values: Tensor, gram: Tensor) -> float:
    """‖ (w − ŵ) X ‖² over all rows."""
    difference = weight.double() - values.double()
    return float(((difference @ gram.double()) * difference).sum().clamp(min=0.0))


def _row(codes: Tensor, hessian: Tensor, parts: Tensor, block: int, size: int) -> Tensor:
    """One block's row of every matrix A: (N, B)."""
    start, end = block * size, min((block + 1) * size, codes.shape[1])
    return (parts * cut(codes[:, start:end] @ hessian[start:end], size)).sum(-1)
