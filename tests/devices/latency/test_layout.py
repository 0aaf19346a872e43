"""Which calls are in the blocked layout, learned from those that were."""

from __future__ import annotations

import json

from timed_networks import call, conv, relu

from compressor.devices.latency.layout import Layout, fit_layout

SEEN = [
    (conv(f"c{channels}-{filters}", "x", channels, filters, 8), not filters % 4 and (channels < 8 or not channels % 4))
    for channels in (3, 8, 12, 13, 16, 30, 32, 35)
    for filters in (6, 7, 8, 12, 16, 25, 32, 64)
]  # fmt: skip


def test_the_rule_is_found() -> None:
    layout = fit_layout(SEEN)
    assert all(layout.blocked([one])[one.name] == blocked for one, blocked in SEEN)
    unseen = [conv("a", "x", 20, 44, 8), conv("b", "x", 21, 44, 8)]
    assert layout.blocked(unseen) == {"a": True, "b": False}


def test_the_layout_is_carried_until_something_turns_the_map() -> None:
    one = conv("c", "x", 16, 16, 8)
    pool = call("p", "max_pool2d", "pool", (1, 16, 4, 4), ("r", one.shape))
    turn = call("t", "permute", "layout", (1, 4, 4, 16), ("p", (1, 16, 4, 4)))
    after = call("e", "exp", "elementwise", (1, 4, 4, 16), ("t", (1, 4, 4, 16)))
    found = fit_layout(SEEN).blocked([one, relu("r", one), pool, turn, after])
    assert found == {"c": True, "r": True, "p": True, "t": False, "e": False}


def test_maps_are_joined_blocked_only_where_each_fills_its_blocks() -> None:
    def joined(filters: int) -> dict[str, bool]:
        two = [conv("a", "x", 16, filters, 8), conv("b", "x", 16, 16, 8)]
        shape = (1, filters + 16, 8, 8)
        return fit_layout(SEEN).blocked([*two, call("cat", "cat", "layout", shape, *((c.name, c.shape) for c in two))])

    assert joined(24) == {"a": True, "b": True, "cat": True}
    assert joined(12) == {"a": True, "b": True, "cat": False}


def test_a_gate_is_multiplied_in_the_plain_layout() -> None:
    one = conv("c", "x", 16, 16, 8)
    gate = call("m", "mul", "elementwise", one.shape, ("c", one.shape), ("g", (1, 16, 1, 1)))
    same = call("s", "mul", "elementwise", one.shape, ("c", one.shape), ("c", one.shape))
    found = fit_layout(SEEN).blocked([one, conv("g", "y", 16, 16, 1), gate, same])
    assert (found["m"], found["s"]) == (False, True)


def test_a_device_without_it_never_blocks() -> None:
    layout = fit_layout([(one, False) for one, _ in SEEN])
    assert layout.tree is False
    pool = call("p", "max_pool2d", "pool", (1, 16, 4, 4), ("x", (1, 16, 8, 8)))
    assert layout.blocked([pool]) == {"p": False}


def test_back_from_json() -> None:
    layout = fit_layout(SEEN)
    assert Layout.from_json(json.loads(json.dumps(layout.to_json()))) == layout


def test_no_block_holds_channels_of_two_groups() -> None:
    layout = Layout(True)
    assert layout.blocked([conv("c", "x", 32, 32, 8, 3, 1, 4)])["c"]
    assert not layout.blocked([conv("c", "x", 24, 24, 8, 3, 1, 6)])["c"]
    assert layout.blocked([conv("c", "x", 24, 24, 8, 3, 1, 24)])["c"]
