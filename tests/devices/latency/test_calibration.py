"""A model bent to a handful of measurements: factors found again, the better base chosen, an honest interval."""

from __future__ import annotations

import json
import math
import random

import pytest
from boards import board

from compressor.devices.latency.calibration import KINDS, Calibrated, Calibration, calibrate, kind_of
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
    kernels = tuple(kernel(kind, math.exp(draw.uniform(-2, 2))) for kind in KINDS)
    return Estimate(kernels, sum(k.latency_ms for k in kernels), False, 0)


def bent(found: Estimate, factors: dict[str, float]) -> float:
    return sum(factors[kind_of(k)] * k.latency_ms for k in found.kernels)


TRUE = dict(zip(KINDS, (2.0, 5.0, 3.0, 0.5, 4.0), strict=True))


def test_each_kind_is_known() -> None:
    assert [kind_of(kernel(kind, 1.0)) for kind in KINDS] == list(KINDS)


def test_factors_are_found_again() -> None:
    draw = random.Random(0)
    known = [estimate(draw) for _ in range(12)]
    _, factors, spread = calibrate({"roofline": known}, [bent(each, TRUE) for each in known])
    assert spread < 0.2
    fresh = [estimate(draw) for _ in range(20)]
    errors = [abs(bent(each, factors) / bent(each, TRUE) - 1) for each in fresh]
    assert sorted(errors)[10] < 0.1


def test_the_base_that_predicts_better_is_chosen() -> None:
    draw = random.Random(1)
    known = [estimate(draw) for _ in range(8)]
    noise = [estimate(draw) for _ in range(8)]
    measured = [7 * each.latency_ms for each in known]
    assert calibrate({"noise": noise, "right": known}, measured)[0] == "right"


def test_one_scale_is_found_exactly_from_three() -> None:
    draw = random.Random(2)
    known = [estimate(draw) for _ in range(3)]
    _, factors, spread = calibrate({"roofline": known}, [3 * each.latency_ms for each in known])
    assert list(factors.values()) == pytest.approx([3.0] * len(KINDS), rel=1e-6)
    assert spread == pytest.approx(0.0, abs=1e-6)


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
    known = Calibration("roofline", TRUE, 0.25, {"a": 1.5}, {"cpu": "x"})
    assert Calibration.from_json(json.loads(json.dumps(known.to_json()))) == known
    with pytest.raises(KeyError):
        Calibration.from_json({"base": "roofline", "factors": {}, "spread": 1, "measured": {}, "about": {}})
