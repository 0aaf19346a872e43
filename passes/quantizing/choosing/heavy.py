"""Eight bits for the heavy part of split feed-forward blocks, beside a plan of fewer for everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from compressor.graph.contract import Context
from compressor.graph.program import Program
from compressor.passes.quantizing.choosing.legal import LegalPlan
from compressor.passes.quantizing.choosing.plan import Limits, plan_integer
from compressor.passes.quantizing.codes.rounding import Rounding

__all__ = ["with_heavy"]


def with_heavy(
    program: Program, context: Context, limits: Limits, rounding: Rounding, legal: LegalPlan, heavy: Sequence[str]
) -> LegalPlan:
    """The plan with the heavy layers in int8, or in float where int8 would hurt or be slow.

    Raises InputError where calibration meets NaN or infinity.
    """
    if not heavy:
        return legal
    found = plan_integer(program, context, limits, (), rounding, only=set(heavy))
    told = [skip for skip in legal.skipped if skip.site not in heavy]
    told += [skip for skip in found.skipped if skip.site in heavy]
    return replace(legal, settings={**found.settings, **legal.settings}, skipped=told)
