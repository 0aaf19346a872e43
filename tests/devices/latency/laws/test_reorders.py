"""Where the runtime copies between layouts."""

from __future__ import annotations

from timed_networks import call, conv, relu

from compressor.devices.latency.laws.reorders import reorders_of, together


def test_into_and_out_of_the_blocked_layout() -> None:
    one = conv("conv", "x", 16, 16, 8)
    after = relu("relu", one)
    view = call("view", "view", "other", (1, 1024), ("relu", one.shape), kernel="")
    found = reorders_of([one, after, view], {"conv": True, "relu": True})
    assert list(found) == ["conv"]
    assert [sorted(each.terms)[0].split()[0] for each in found["conv"]] == ["input", "output"]


def test_an_image_is_read_as_it_is_and_a_value_turned_once() -> None:
    image = conv("a", "x", 3, 16, 8)
    two = [conv("b", "y", 16, 16, 8), conv("c", "y", 16, 16, 8)]
    blocked = {"a": True, "b": True, "c": True}
    found = reorders_of([image, *two], blocked)
    copies = [
        name.split()[0] for listed in found.values() for each in listed for name in each.terms if "copies" in name
    ]
    assert copies.count("input") == 1
    assert copies.count("output") == 3


def test_nothing_where_nothing_is_blocked() -> None:
    assert reorders_of([conv("a", "x", 16, 16, 8)], {}) == {}


def test_together() -> None:
    one = reorders_of([conv("a", "x", 16, 16, 8)], {"a": True})["a"]
    assert together([*one, *one]).terms["input copies"] == 2 * one[0].terms["input copies"]
