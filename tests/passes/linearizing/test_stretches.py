"""What merges without its activations, and what that is worth."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compressor.graph.contract import Context
from compressor.graph.program import Program
from compressor.passes.linearizing.prepare import apart, functional
from compressor.passes.linearizing.stretches import cost_of, find_stretches, named
from tests.per_kernel import PerKernel, context, trained


@pytest.fixture(scope="module")
def folded() -> Program:
    return apart(functional(trained()), context())


def test_stretches_do_not_overlap_and_gain_what_their_kernels_cost(folded: Program) -> None:
    found = find_stretches(folded, context())
    layers = {s.name: s.layers for s in found.stretches}
    assert layers["one.expand"] == ("one.expand", "one.depthwise", "one.project")
    assert layers["up"] == ("up", "down")
    assert len({name for each in layers.values() for name in each}) == sum(map(len, layers.values()))
    [up] = [s for s in found.stretches if s.name == "up"]
    assert up.gain == pytest.approx(1 / cost_of(folded, context())), "two kernels become one"
    assert found.count == 7, "all but the gate"


def test_what_stays_has_a_reason(folded: Program) -> None:
    reasons = {s.site: s.reason for s in find_stretches(folded, context(), keep=("up.*",)).skipped}
    assert "kept" in reasons["up"]
    assert "gate" in reasons["gate.excite"]
    dear = replace(context(), latency=PerKernel(1e9))
    found = find_stretches(folded, dear)
    assert {s.name for s in found.stretches} == {"up"}
    reasons = {s.site: s.reason for s in found.skipped}
    assert "1,152 weights" in reasons["one.expand"], "two of its layers alone; all three are no gain"


def test_what_the_target_counts(folded: Program) -> None:
    small: Context = replace(context(), target=replace(context().target, objective="size"))
    assert cost_of(folded, small) == folded.unique_bytes()
    assert cost_of(folded, replace(context(), latency=None)) > 1000, "MACs"


def test_a_stretch_is_found_by_its_ends(folded: Program) -> None:
    found = named(folded, "one.expand", "one.project")
    assert found is not None
    assert found.activations == ("one.expand", "one.depthwise")
    assert named(folded, "one.expand", "down") is None
