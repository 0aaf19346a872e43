"""Each layer in the next format that the target runs, with the reason; and what the latency model says decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from boards import board
from torch import Tensor, nn

from compressor.errors import RecipeError
from compressor.graph.capture import capture
from compressor.graph.contract import Context, PassResult
from compressor.graph.cost import Estimate, Roofline
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize
from compressor.passes.quantizing.choosing.legal import formats_from
from compressor.passes.quantizing.settings import format_of
from compressor.targets import Provider, Runtime, load_target
from compressor.targets.target import Target


class Net(nn.Module):
    """Every kind of layer: a table, linears, a pointwise, a grouped, a depthwise and a wide convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.wide, self.small = nn.Embedding(64, 64), nn.Linear(64, 128), nn.Linear(128, 32)
        self.point, self.deep = nn.Conv1d(128, 128, 1), nn.Conv1d(128, 128, 3, padding=1, groups=128)
        self.spread, self.grouped = nn.Conv1d(128, 128, 3, padding=1), nn.Conv1d(128, 128, 1, groups=4)

    def forward(self, ids: Tensor) -> Tensor:
        x = torch.relu(self.wide(self.table(ids))).mT
        x = torch.relu(self.spread(torch.relu(self.deep(torch.relu(self.point(x))))))
        return self.small(torch.relu(self.grouped(x)).mT)


@pytest.fixture(scope="module")
def net() -> Program:
    torch.manual_seed(0)
    return capture(Net(), (torch.randint(0, 64, (2, 16)),)).program


def data(program: Program) -> list[dict[str, Tensor]]:
    return [{program.inputs[0].name: torch.randint(0, 64, (2, 16), generator=torch.Generator().manual_seed(1))}]


def formats(result: PassResult) -> dict[str, str]:
    names = ("table", "wide", "point", "deep", "spread", "grouped", "small")
    return {name: str(result.settings.get(name, {"format": "fp32"})["format"]) for name in names}


def reasons(result: PassResult) -> dict[str, str]:
    return {skip.site: skip.reason for skip in result.skipped}


class Slow(Roofline):
    """The roofline, but products in blocks take so many times as long."""

    def __init__(self, times: Callable[[str], float], *, calibrated: bool = True) -> None:
        self.times, self.calibrated = times, calibrated

    def predict(self, program: Program, target: Target, **options: object) -> Estimate:  # type: ignore[override]
        found = super().predict(program, target, **options)  # type: ignore[arg-type]
        blocks = {"int4", "int2"}
        kernels = tuple(
            replace(k, latency_ms=k.latency_ms * self.times(k.layer)) if k.format in blocks else k
            for k in found.kernels
        )
        return replace(
            found, kernels=kernels, latency_ms=sum(k.latency_ms for k in kernels), calibrated=self.calibrated
        )


def test_the_order_of_formats() -> None:
    every = ("ternary", "int2", "int4", "int8", "fp16")
    assert tuple(name for name in formats_from("ternary") if name in every) == every
    assert formats_from("int4") == ("int4", "int8", "fp16")


def test_with_data_convolutions_in_groups_become_int8_and_tables_have_four_bits(net: Program) -> None:
    result = Quantize("ternary", block=64).run(net, Context(board(), calibration=data(net)))
    assert formats(result) == {
        "table": "int4", "wide": "ternary", "point": "ternary", "small": "ternary",
        "spread": "ternary", "deep": "int8", "grouped": "int8",
    }  # fmt: skip
    told = reasons(result)
    assert "less than 4 bits cost an embedding too much accuracy" in told["table"]
    assert told["deep"].startswith("int8 in place of ternary: blocks are for linear layers, dense convolutions")
    assert [told[name].rpartition("this is a ")[2] for name in ("grouped", "deep")] == [
        "convolution of 4 groups", "depthwise convolution",
    ]  # fmt: skip
    assert "wide" not in told
    again = Quantize(sites=result.settings).run(net, Context(board()))
    assert again.program.hash() == result.program.hash()


def test_tensorrt_takes_int8_with_data_and_fp16_without(net: Program) -> None:
    jetson = load_target("jetson")
    result = Quantize("ternary").run(net, Context(jetson, calibration=data(net)))
    assert set(formats(result).values()) == {"int8"}
    assert "TensorrtExecutionProvider has no MatMulNBits" in reasons(result)["wide"]
    without = formats(Quantize("ternary").run(net, Context(jetson)))
    assert {without[name] for name in ("wide", "point", "small")} == {"fp16"}


def test_a_runtime_too_old_for_two_bits_takes_four(net: Program) -> None:
    old = board(runtime=Runtime("onnxruntime", "1.23.2", 21, "test"))
    result = Quantize("int2", block=64).run(net, Context(old))
    assert {formats(result)[name] for name in ("table", "wide", "point", "small")} == {"int4"}
    assert reasons(result)["wide"].startswith("int4 in blocks of 64 in place of int2: onnxruntime 1.23.2 has no int2")
    older = board(runtime=Runtime("onnxruntime", "1.18", 21, "test"))
    result = Quantize("int2", block=64).run(net, Context(older, calibration=data(net)))
    assert set(formats(result).values()) == {"int8"}
    assert "int2 product" in reasons(result)["wide"]
    assert "int4 product" in reasons(result)["wide"]


def test_without_data_weights_alone_are_int8_where_size_counts(net: Program) -> None:
    size = board(objective="size")
    assert formats(Quantize("int4", block=64).run(net, Context(size)))["grouped"] == "int8"
    result = Quantize("int4", block=64).run(net, Context(board()))
    assert formats(result)["grouped"] == "fp32"
    assert "int8 takes calibration data, and weights alone are slower" in reasons(result)["grouped"]


def test_a_board_that_runs_floats_alone(net: Program) -> None:
    plain = board(formats=("fp32",), providers=(Provider("CPUExecutionProvider", ("fp32",), ("MatMul",), "", "test"),))
    result = Quantize("int4").run(net, Context(plain, calibration=data(net)))
    assert {name: each for name, each in formats(result).items() if each != "fp32"} == {"table": "int8"}
    assert reasons(result)["wide"].endswith("CPUExecutionProvider of board runs no int8; board runs no fp16")


def test_what_is_predicted_to_be_slower_stays_as_it_was(net: Program) -> None:
    slow = Context(board(), latency=Slow(lambda layer: 50.0 if layer == "wide" else 1.0), calibration=data(net))
    result = Quantize("int4", block=64).run(net, slow)
    assert "wide" not in result.settings
    assert reasons(result)["wide"].startswith("stays float: int4 is predicted to be slower: ")
    assert " ms, fp32 0." in reasons(result)["wide"]
    assert "(uncalibrated)" not in reasons(result)["wide"]
    assert formats(result)["small"] == "int4"
    asked = Quantize("int4", block=64, slower=True).run(net, slow)
    assert formats(asked)["wide"] == "int4"
    assert "Slower in int4, as predicted: point, spread, wide, " in asked.notes[0]


def test_a_slower_convolution_takes_the_next_format(net: Program) -> None:
    slow = Context(board(), latency=Slow(lambda layer: 50.0 if layer == "point" else 1.0), calibration=data(net))
    result = Quantize("int4", block=64).run(net, slow)
    assert formats(result)["point"] == "int8"
    assert reasons(result)["point"].startswith("int8 in place of int4: int4 is predicted to be slower: ")
    assert " ms, int8 0." in reasons(result)["point"]


def test_where_size_counts_slower_is_a_note_with_both_numbers(net: Program) -> None:
    size = board(objective="size")
    context = Context(size, latency=Slow(lambda layer: 50.0, calibrated=False))
    result = Quantize("int4", block=64).run(net, context)
    assert formats(result)["wide"] == "int4"
    assert "Slower in int4, as predicted: " in result.notes[0]
    assert "(uncalibrated) in all. There it buys size alone" in result.notes[0]


def test_a_profile_that_has_not_measured_such_products_decides_nothing(net: Program) -> None:
    class Unknown(Slow):
        def predict(self, program: Program, target: Target, **options: object) -> Estimate:  # type: ignore[override]
            return replace(super().predict(program, target, **options), unknown=("compressor::linear_blocks",))

    arm = load_target("raspberry-pi-5")
    result = Quantize("int2", block=64).run(net, Context(arm, latency=Unknown(lambda layer: 50.0)))
    assert formats(result)["wide"] == "int2"
    assert "int2 products cost more time than fp32" in result.notes[0]


def test_one_set_of_codes_for_tied_layers() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.head = nn.Embedding(40, 64), nn.Linear(64, 40, bias=False)
            self.head.weight = self.words.weight

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.words(ids).tanh())

    program = capture(Tied(), (torch.randint(0, 40, (2, 5)),)).program
    result = Quantize("ternary", block=64).run(program, Context(board()))
    assert {str(setting["format"]) for setting in result.settings.values()} == {"int4"}
    assert result.program.unique_bytes() == 40 * (64 // 2 + 4)
    assert result.program.parameters() == 40 * 64
    told = reasons(result)
    assert any(
        "tied to words: less than 4 bits cost an embedding too much accuracy" in reason for reason in told.values()
    )
    other = {name: {**setting, "block": 32} if "head" in name else setting for name, setting in result.settings.items()}
    with pytest.raises(RecipeError, match="shares its weight with"):
        Quantize(sites=other).run(program, Context(board()))


def test_prediction_does_not_touch_the_program(net: Program) -> None:
    digest = net.hash()
    Quantize("int4", block=64).run(net, Context(board(), latency=Roofline()))
    assert net.hash() == digest


def test_integers_that_make_a_small_net_slower_are_not_taken_in_place() -> None:
    tiny = capture(nn.Sequential(nn.Linear(16, 16)), (torch.randn(1, 16),)).program
    data = [{tiny.inputs[0].name: torch.randn(1, 16)}]
    context = Context(board(), latency=Roofline(), calibration=data)
    result = Quantize("ternary").run(tiny, context)
    assert not result.changed
    assert "int8 is predicted to make the whole slower: " in reasons(result)["0"]
    assert reasons(result)["0"].startswith("stays float: its 16 inputs are fewer than a block of 128")
    assert Quantize("ternary", slower=True).run(tiny, context).changed


class TiedHead(nn.Module):
    """A table that is the output layer's weight, too."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.inner, self.head = nn.Embedding(256, 128), nn.Linear(128, 128), nn.Linear(128, 256, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.relu(self.inner(self.table(ids))))


def test_tied_layers_stay_float_together_or_take_the_format_together() -> None:
    """The table alone is predicted to be slower in blocks, the head alone to be faster."""
    torch.manual_seed(0)
    program = capture(TiedHead(), (torch.randint(0, 256, (1, 16)),)).program
    for name in ("raspberry-pi-5", "x86-64"):
        context = Context(load_target(name), latency=Roofline())
        result = Quantize("int4", block=32).run(program, context)
        taken = {site: format_of(setting) for site, setting in result.settings.items()}
        assert taken.get("table") == taken.get("head")
        again = Quantize(sites=result.settings).run(program, context)
        assert again.program.hash() == result.program.hash()
