"""Eight bits for the heavy part of split feed-forward blocks, beside a plan of fewer for everything else."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.graph.contract import Context, Setting, Skip
from compressor.graph.program import Program
from compressor.passes.quantizing.legal import LegalPlan
from compressor.passes.quantizing.plan import Limits, plan_integer

__all__ = ["with_heavy"]


def with_heavy(
    program: Program, context: Context, limits: Limits, legal: LegalPlan, heavy: Sequence[str]
) -> tuple[dict[str, Setting], list[Skip]]:
    """The plan's settings and skips with the heavy layers in int8, or in float where int8 would hurt or be slow.

    Raises InputError where calibration meets NaN or infinity.
    """
    if not heavy:
        return legal.settings, legal.skipped
    found = plan_integer(program, context, limits, only=set(heavy))
    told = [skip for skip in legal.skipped if skip.site not in heavy]
    told += [skip for skip in found.skipped if skip.site in heavy]
    return {**found.settings, **legal.settings}, told
