"""A network as it was timed."""

from __future__ import annotations

from timed_networks import network


def test_it_holds_what_was_timed() -> None:
    one = network(3)
    assert one.threads == 1
    assert {node.call for node in one.nodes} <= {call.name for call in one.calls}
    assert one.microseconds > 0
