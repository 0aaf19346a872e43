"""The rules of `fold`, one file each, tried in this order until none applies."""

from __future__ import annotations

from compressor.passes.folding.batch_norm import BatchNorm
from compressor.passes.folding.common import Common
from compressor.passes.folding.constants import Constants
from compressor.passes.folding.identities import Identities
from compressor.passes.folding.layer_norm import LayerNorm
from compressor.passes.folding.linear_pair import LinearPair
from compressor.passes.folding.linear_run import LinearRun
from compressor.passes.folding.matmul import MatMul
from compressor.passes.folding.parallel import Parallel
from compressor.passes.folding.rule import Rule
from compressor.passes.folding.scale_shift import ScaleShift

__all__ = ["RULES"]

RULES: tuple[Rule, ...] = (
    Identities(), Common(), Constants(), MatMul(), BatchNorm(), LayerNorm(), ScaleShift(), LinearPair(),
    Parallel(), LinearRun(),
)  # fmt: skip
