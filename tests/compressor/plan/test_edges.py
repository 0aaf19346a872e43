"""Which layers feed which."""

from __future__ import annotations

from weighed import weighed

from compressor.plan.edges import edges


def test_a_residual_network() -> None:
    known = weighed()
    found = edges(known.program, {"stem.0", "first.inner.0", "first.outer.0", "depthwise.0"})
    assert ("stem.0", "first.inner.0") in found
    assert ("first.inner.0", "first.outer.0") in found
    assert {("stem.0", "depthwise.0"), ("first.outer.0", "depthwise.0")} <= found  # around the block, too
    assert ("stem.0", "first.outer.0") not in found
