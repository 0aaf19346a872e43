"""Planning: what is static, what falls back to weights alone, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from boards import board
from torch import Tensor, nn

from compressor.errors import InputError
from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.program import Program
from compressor.passes.quantizing.choosing.plan import (
    IntegerPlan,
    Limits,
    activation_format_of,
    plan_integer,
    weight_format_of,
)
from compressor.targets.target import Objective, Provider, Target

LIMITS = Limits(static=True, calibrator="minmax", percentile=99.99, samples=64, max_error=9.0)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.tiny = nn.ConvTranspose2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.conv(x))
        return self.tiny(self.up(h + h))


def planned(limits: Limits = LIMITS, scale: float = 1.0, target: Target | None = None) -> tuple[Program, IntegerPlan]:
    torch.manual_seed(0)
    x = torch.randn(8, 3, 8, 8) * scale
    program = capture(Net(), (x[:2],)).program
    return program, plan_integer(program, Context(target or board(), calibration=[{"x": x}]), limits)


def test_ranges_are_those_of_the_data() -> None:
    program, plan = planned()
    setting = plan.settings["conv"]
    assert setting["activation"] == "uint8"
    assert setting["weights"] == "int7"
    x = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    assert -6 < setting["low"] < -2.5 < 2.5 < setting["high"] < 6  # type: ignore[operator]
    assert setting["out_low"] == 0.0
    with torch.no_grad():
        assert float(setting["out_high"]) < 2 * float(program.run([x])["output"].abs().max()) + 10
    assert plan.settings["add"]["out_high"] == pytest.approx(2 * float(setting["out_high"]))


def test_transposed_convolutions_have_integer_weights_only_and_tiny_ones_none() -> None:
    _, plan = planned()
    assert plan.settings["up"] == {"format": "int8", "weights": "int8"}
    assert "tiny" not in plan.settings
    assert [skip.reason for skip in plan.skipped if skip.site == "tiny"] == [
        "only 16 weights: the scales would cost more than is saved"
    ]


def test_weight_only_asks_for_no_data() -> None:
    program, _ = planned()
    plan = plan_integer(program, Context(board()), replace(LIMITS, static=False))
    assert plan.settings["conv"] == {"format": "int8", "weights": "int8"}
    assert [skip.site for skip in plan.skipped] == ["tiny"]


def test_a_weight_that_is_not_finite_is_skipped_and_told() -> None:
    model = Net()
    with torch.no_grad():
        model.up.weight[0, 0, 0, 0] = float("inf")
    program = replace(planned()[0])
    program.get("up").weight = nn.Parameter(model.up.weight.detach())
    plan = plan_integer(program, Context(board()), LIMITS)
    assert "up" not in plan.settings
    assert ("up", "the tensor holds NaN or infinite values") in [(skip.site, skip.reason) for skip in plan.skipped]


def test_data_that_is_not_finite_is_an_error_that_names_the_layer() -> None:
    program, _ = planned()
    with pytest.raises(InputError, match="NaN or infinite"):
        plan_integer(program, Context(board(), calibration=[{"x": torch.full((2, 3, 8, 8), float("nan"))}]), LIMITS)


@pytest.mark.parametrize(
    ("objective", "setting", "reason"),
    [
        ("size", {"format": "int8", "weights": "int8"}, "activations stay float: they would add "),
        ("latency", {"format": "fp32"}, "stays float: integer activations would add "),
    ],
)
def test_beyond_the_error_bound_a_layer_falls_back_as_the_target_wants(
    objective: Objective, setting: dict[str, str], reason: str
) -> None:
    _, plan = planned(replace(LIMITS, max_error=1e-6), target=board(objective=objective))
    assert plan.settings["conv"] == setting
    assert "add" not in plan.settings
    (skip,) = (skip for skip in plan.skipped if skip.site == "conv")
    assert skip.reason.startswith(reason)


@pytest.mark.parametrize(("saturates", "expected"), [(True, "int7"), (False, "int8")])
def test_weights_lose_a_bit_where_sums_of_products_saturate(saturates: bool, expected: str) -> None:
    target = board(providers=(Provider("CPUExecutionProvider", ("int8",), ("*",), "uint8", "test", (), saturates),))
    assert weight_format_of(target).name == expected


@pytest.mark.parametrize(
    ("provider", "activations", "expected"),
    [
        ("CPUExecutionProvider", "uint8", "uint8"),
        ("XnnpackExecutionProvider", "int8", "int8-affine"),
        ("TensorrtExecutionProvider", "int8", "int8"),
    ],
)
def test_activations_as_the_provider_wants_them(provider: str, activations: str, expected: str) -> None:
    target = board(providers=(Provider(provider, ("int8",), ("*",), activations, "test"),))
    found = activation_format_of(target)
    assert found is not None
    assert found.name == expected


def test_no_integer_provider_no_format() -> None:
    assert activation_format_of(board(providers=(Provider("P", ("fp32",), ("*",), "", "test"),))) is None
