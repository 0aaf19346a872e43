"""A model bent to a handful of measurements: factors found again, the better base chosen, an honest interval."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import pytest
from boards import board

from compressor.devices.latency.calibration import KINDS, Calibrated, Calibration, calibrate, kind_of, kinds_of
from compressor.errors import InputError
from compressor.graph.cost import Estimate, KernelCost, Roofline
from compressor.graph.program import Program

EXAMPLES = {
    "convolution": ("conv2d", "fp32", 10**6), "depthwise": ("conv2d", "fp32", 9 * 640),
    "product": ("linear", "fp32", 10**4), "integer": ("conv2d", "int8", 10**6), "other": ("norm", "fp32", 0),
}  # fmt: skip


def kernel(kind: str, milliseconds: float) -> KernelCost:
    name, form, macs = EXAMPLES[kind]
    return KernelCost("layer", name, (1, 10, 8, 8), form, macs, 0, 0, milliseconds, "compute", ())


def estimate(draw: random.Random) -> Estimate:
    drawn = [kernel(kind, math.exp(draw.uniform(-2, 2))) for kind in EXAMPLES]
    stored = kernel("product", math.exp(draw.uniform(-2, 2)))
    unpacking = replace(kernel("other", 0.0), layer="stored", kind="dequantize")
    kernels = (*drawn, unpacking, replace(stored, layer="stored"))
    return Estimate(kernels, sum(k.latency_ms for k in kernels), False, 0)


def bent(found: Estimate, factors: dict[str, float]) -> float:
    return sum(factors[kind] * k.latency_ms for kind, k in zip(kinds_of(found.kernels), found.kernels, strict=True))


TRUE = dict(zip(KINDS, (2.0, 5.0, 3.0, 0.5, 6.0, 4.0), strict=True))


def test_each_kind_is_known() -> None:
    assert [kind_of(kernel(kind, 1.0)) for kind in EXAMPLES] == list(EXAMPLES)
    assert set(kinds_of(estimate(random.Random(0)).kernels)) == set(KINDS)


def test_factors_are_found_again() -> None:
    draw = random.Random(0)
    known = [estimate(draw) for _ in range(14)]
    found = calibrate({"roofline": known}, [bent(each, TRUE) for each in known])
    assert found.spread < 0.3
    fresh = [estimate(draw) for _ in range(20)]
    errors = [abs(sum(found.times(each.kernels)) / bent(each, TRUE) - 1) for each in fresh]
    assert sorted(errors)[10] < 0.1


def test_the_base_that_predicts_better_is_chosen() -> None:
    draw = random.Random(1)
    known = [estimate(draw) for _ in range(8)]
    noise = [estimate(draw) for _ in range(8)]
    measured = [7 * each.latency_ms for each in known]
    assert calibrate({"noise": noise, "right": known}, measured).base == "right"


def test_one_scale_is_found_exactly_from_three() -> None:
    draw = random.Random(2)
    known = [estimate(draw) for _ in range(3)]
    found = calibrate({"roofline": known}, [3 * each.latency_ms for each in known])
    assert list(found.factors.values()) == pytest.approx([3.0] * len(KINDS), rel=1e-6)
    assert found.spread == pytest.approx(0.0, abs=1e-6)
    assert found.call_ms == pytest.approx(0.0, abs=1e-9)


def shrunk(depth: int, width: float) -> Estimate:
    """A network of so many layers, whose work is that share of what it was; a call takes 0.004 ms in the model."""
    kernels = tuple(kernel("convolution", 0.01 * width + 0.004) for _ in range(depth))
    return Estimate(kernels, sum(k.latency_ms for k in kernels), False, 0)


def test_what_a_call_costs_is_found_from_narrower_and_shallower_networks() -> None:
    """Where a call takes 0.001 ms and not 0.004, narrow layers save more than the model says, and fewer ones less."""
    sizes = [(36, 1.0), (36, 0.6), (36, 0.3), (36, 0.1), (24, 1.0), (12, 1.0)]
    known = [shrunk(*size) for size in sizes]
    measured = [depth * (0.012 * width + 0.001) for depth, width in sizes]
    found = calibrate({"profile": known}, measured)
    assert found.spread < 0.1
    assert found.call_ms < 0
    narrow, shallow = (sum(found.times(shrunk(*size).kernels)) for size in ((36, 0.2), (18, 0.9)))
    assert narrow == pytest.approx(36 * (0.012 * 0.2 + 0.001), rel=0.1)
    assert shallow == pytest.approx(18 * (0.012 * 0.9 + 0.001), rel=0.1)


def test_a_lower_cost_of_calls_leaves_a_tenth_of_a_kernel_and_adds_none_to_what_is_no_call() -> None:
    found = Calibration("roofline", dict.fromkeys(KINDS, 2.0), 0.1, call_ms=-1.0)
    kernels = [kernel("convolution", 3.0), kernel("convolution", 0.4), kernel("other", 0.0)]
    assert found.times(kernels) == pytest.approx([5.0, 0.08, 0.0])


def test_two_measurements_are_too_few() -> None:
    draw = random.Random(3)
    with pytest.raises(InputError, match="3 are the least"):
        calibrate({"roofline": [estimate(draw)] * 2}, [1.0, 1.0])


def test_predictions_are_bent_and_say_so(conv_program: Program) -> None:
    factors = dict.fromkeys(KINDS, 2.0)
    found = Calibrated(Roofline(), Calibration("roofline", factors, 0.1), "a test").predict(conv_program, board())
    plain = Roofline().predict(conv_program, board())
    assert found.latency_ms == pytest.approx(2 * plain.latency_ms)
    assert found.interval_ms == pytest.approx((found.latency_ms / math.exp(0.1), found.latency_ms * math.exp(0.1)))
    assert (found.calibrated, found.source) == (True, "a test")


def test_it_is_kept_as_json() -> None:
    known = Calibration("roofline", TRUE, 0.25, {"a": 1.5}, {"cpu": "x"}, -0.002)
    assert Calibration.from_json(json.loads(json.dumps(known.to_json()))) == known
    earlier = {name: value for name, value in known.to_json().items() if name != "call_ms"}
    assert Calibration.from_json(earlier).call_ms == 0.0
    fewer = {kind: factor for kind, factor in TRUE.items() if kind != "unpacked"}
    assert Calibration.from_json({**earlier, "factors": fewer}).factors["unpacked"] == TRUE["other"]
    with pytest.raises(KeyError):
        Calibration.from_json({"base": "roofline", "factors": {}, "spread": 1, "measured": {}, "about": {}})
