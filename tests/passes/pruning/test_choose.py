"""Choosing: what the user keeps stays, and cuts that save no time are not made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from boards import board
from recovery import digits_batches, digits_program

from compressor.graph.contract import Context
from compressor.graph.cost import Estimate, Roofline
from compressor.graph.dimensions.groups import analyse
from compressor.graph.dimensions.removal import Removal
from compressor.graph.program import Program
from compressor.passes.pruning.choose import Chooser, settings_of
from compressor.targets.target import Target

CHOOSER = Chooser("magnitude", "uniform", 0, 0.1, ())


class Flat(Roofline):
    """A board on which one layer costs the same at any width."""

    def predict(self, program: Program, target: Target, **changes: Any) -> Estimate:
        found = super().predict(program, target, **changes)
        full = super().predict(program, target)
        pairs = zip(found.kernels, full.kernels, strict=True)
        kernels = [a if "pointwise" in a.layer or "second" in a.layer else b for a, b in pairs]
        return replace(found, latency_ms=sum(kernel.latency_ms for kernel in kernels))


def test_widths_are_the_targets_multiples() -> None:
    dimensions = analyse(digits_program())
    context = Context(board(width_multiple=8))
    ranked = CHOOSER.ranked(dimensions, [], context)
    allocation, _ = CHOOSER.allocation(ranked, Removal(dimensions, ()).macs() * 0.5, context)
    for one, rung in zip(allocation.ladders, allocation.rungs, strict=True):
        assert rung == 0 or (len(one.order) - one.rungs[rung]) % 8 == 0


def test_kept_dimensions_have_no_ladder() -> None:
    dimensions = analyse(digits_program())
    chooser = replace(CHOOSER, keep=("stem.*",))
    ranked = chooser.ranked(dimensions, digits_batches(), Context(board()))
    assert ranked.kept == (dimensions.dimensions[0].name,)
    assert all(one.dimension.name not in ranked.kept for one in ranked.ladders)


def test_a_cut_that_saves_no_time_is_not_made() -> None:
    dimensions = analyse(digits_program())
    context = Context(board(), latency=Flat())
    ranked = CHOOSER.ranked(dimensions, [], context)
    allocation, skipped = CHOOSER.allocation(ranked, Removal(dimensions, ()).macs() * 0.5, context)
    assert [skip.reason for skip in skipped] == ["cutting it saves no time on board"] * len(skipped)
    assert {skip.site for skip in skipped} == {"first.inner.0"}
    assert "first.inner.0" not in settings_of(allocation)


def test_on_a_target_for_size_time_does_not_decide() -> None:
    dimensions = analyse(digits_program())
    context = Context(board(objective="size"), latency=Flat())
    ranked = CHOOSER.ranked(dimensions, [], context)
    _, skipped = CHOOSER.allocation(ranked, Removal(dimensions, ()).macs() * 0.5, context)
    assert skipped == []


def test_the_cost_of_a_cut_is_time_where_time_decides() -> None:
    dimensions = analyse(digits_program())
    removal, context = Removal(dimensions, dimensions.dimensions[0].units[:8]), Context(board(), latency=Roofline())
    assert CHOOSER.cost(removal, context) == removal.macs()
    milliseconds = Roofline().predict(removal.dimensions.program, board(), values=removal.values()).latency_ms
    assert replace(CHOOSER, where="latency").cost(removal, context) == milliseconds
    assert replace(CHOOSER, where="latency").cost(removal, Context(board())) == removal.macs()


def test_given_scores_order_the_units() -> None:
    dimensions = analyse(digits_program())
    units = [unit for dimension in dimensions.dimensions for unit in dimension.units]
    ranked = CHOOSER.laddered(dimensions, {unit: float(-unit) for unit in units}, Context(board()))
    assert all(list(one.order) == sorted(one.order, reverse=True) for one in ranked.ladders)
