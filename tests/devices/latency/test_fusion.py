"""Which calls cost nothing, learned from those that took no time."""

from __future__ import annotations

import json

from timed_networks import call, conv, relu

from compressor.devices.latency.fusion import Fusion, fit_fusion
from compressor.graph.calls import Call

MAP = (1, 8, 8, 8)


def chain(activation: str = "relu") -> list[Call]:
    one = conv("conv", "x", 8, 8, 8)
    after = call(activation, activation, "elementwise", MAP, ("conv", MAP), kernel="conv", anchor="conv2d", main=False)
    return [one, after, call("exp", "exp", "elementwise", MAP, (activation, MAP))]


def learned() -> Fusion:
    return fit_fusion([(chain(), {}, {"conv", "exp"})] * 3)


def test_what_is_fused_costs_nothing() -> None:
    assert learned().free(chain(), {}) == {"relu"}


def test_an_operator_never_seen_is_taken_as_its_kind_in_the_same_kernel() -> None:
    assert learned().free(chain("hardswish"), {}) == {"hardswish"}


def test_views_cost_nothing_until_they_are_seen_to() -> None:
    view = call("view", "view", "other", MAP, ("x", MAP), kernel="")
    assert Fusion().free([view, *chain()], {}) == {"view"}
    assert fit_fusion([([view], {}, {"view"})] * 3).free([view], {}) == set()


def test_back_from_json() -> None:
    assert Fusion.from_json(json.loads(json.dumps(learned().to_json()))) == learned()


def test_relu_helper_joins_its_kernel() -> None:
    one = conv("conv", "x", 8, 8, 8)
    assert relu("r", one).kernel == "conv"


def test_what_inference_leaves_as_it_is_costs_nothing_though_never_seen() -> None:
    calls = (Call("d", "dropout", "other", "fp32", ((1, 8),), 32, (), (), 0, kernel="d", main=True),)
    assert Fusion().free(calls, {}) == {"d"}
