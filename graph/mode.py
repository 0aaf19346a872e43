"""The train/eval switch of a captured graph: the modes are arguments of its nodes.

    batch_norm(x, w, b, mean, variance, training, …)     dropout(x, p, train)     sdpa(q, k, v, mask, dropout_p, …)
    fake_weight(w, scale, gain, blend, …, training)      and what else blends what goes into what stays (quant/fake.py)

`.train()` and `.eval()` raise on a captured module, so that whoever trains a program switches its nodes.
"""

from __future__ import annotations

import torch
from torch import fx

from compressor.graph.edit import argument, is_call, set_argument
from compressor.graph.program import Program
from compressor.quant.fake import BLENDING

__all__ = ["batch_norms", "set_mode"]

aten = torch.ops.aten
BATCH_NORMS = (aten.batch_norm.default, aten.native_batch_norm.default, aten.cudnn_batch_norm.default)
DROPOUTS = (aten.dropout.default, aten.native_dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default)


def batch_norms(program: Program) -> list[fx.Node]:
    """Its batch norms that keep running statistics, in order of execution."""
    return [node for node in program.nodes() if is_call(node, *BATCH_NORMS) and argument(node, "running_mean")]


def set_mode(program: Program, *, batch_norm: bool, dropout: bool = False, blending: bool = False) -> Program:
    """A copy whose batch norms use (and update) the batch's own statistics or the running ones, whose dropouts draw or
    do not, and which blends what goes (floats, dense paths) into what stays, or has what stays alone. The probability
    that a capture in eval mode lost (attention's) stays zero.

    The copy shares its tensors with the original; a caller that trains gives it tensors of its own first.
    """
    copy = program.copy()
    for node in batch_norms(copy):
        set_argument(node, "training", batch_norm)
    for node in copy.nodes():
        if is_call(node, *DROPOUTS):
            set_argument(node, "train", dropout)
        elif is_call(node, *BLENDING):
            set_argument(node, "training", blending)
        elif is_call(node, aten.scaled_dot_product_attention.default) and not dropout:
            set_argument(node, "dropout_p", 0.0)
    copy.module.recompile()
    return copy
