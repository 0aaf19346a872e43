from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from decoders import tiny_decoder
from torch import Tensor, nn

from compressor.errors import MismatchError
from compressor.export.agreement import FP32, Tolerance
from compressor.export.check import check, compare
from compressor.graph.capture import capture
from compressor.graph.contract import Batch
from compressor.graph.kv_cache import with_past
from compressor.graph.program import Program


class Pair(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"float": x * 2, "integer": x.argmax(1)}


@pytest.fixture(scope="module")
def pair() -> Program:
    torch.manual_seed(0)
    return capture(Pair(), (torch.randn(40, 8),)).program


def altered(program: Program, name: str, change: object):  # type: ignore[no-untyped-def]
    """The program itself as if it were an artifact, one output of it changed."""

    def run(batch: Batch) -> dict[str, Tensor]:
        outputs = program.run(batch)
        return {**outputs, name: change(outputs[name].clone())}  # type: ignore[operator]

    return run


def batch_of(program: Program) -> list[Batch]:
    return [{"x": program.example[0]}]


def test_figures_are_those_of_the_formulas(pair: Program) -> None:
    run = altered(pair, "float", lambda y: y * 1.5)
    figures = compare(pair, run, batch_of(pair), Tolerance(1.0, 0.0), where="")[0]
    assert figures.relative_rms == pytest.approx(0.5)
    assert figures.cosine == pytest.approx(1.0)
    assert figures.max_abs == pytest.approx(float(pair.example[0].abs().max()), rel=1e-5)
    assert figures.equal == 0.0


def test_an_error_beyond_the_tolerance_names_output_and_figures(pair: Program) -> None:
    run = altered(pair, "float", lambda y: y + 1e-2)
    with pytest.raises(MismatchError, match=r"'float'.*relative RMS error.*cosine") as caught:
        compare(pair, run, batch_of(pair), FP32, where="model.onnx")
    assert caught.value.where == "model.onnx"


def test_one_wrong_element_in_a_thousand_is_found(pair: Program) -> None:
    def spoiled(y: Tensor) -> Tensor:
        y[0, 0] += 1.0
        return y

    with pytest.raises(MismatchError):
        compare(pair, altered(pair, "float", spoiled), batch_of(pair), FP32, where="")


def test_integers_are_judged_by_how_many_are_equal(pair: Program) -> None:
    def spoiled(y: Tensor) -> Tensor:
        y[0] = (y[0] + 1) % 8
        return y

    run = altered(pair, "integer", spoiled)
    figures = compare(pair, run, batch_of(pair), Tolerance(0.0, 0.95), where="")[1]
    assert figures.equal == pytest.approx(39 / 40)
    with pytest.raises(MismatchError, match="'integer'"):
        compare(pair, run, batch_of(pair), FP32, where="")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_not_finite_where_the_program_is(pair: Program, value: float) -> None:
    run = altered(pair, "float", lambda y: torch.full_like(y, value))
    with pytest.raises(MismatchError):
        compare(pair, run, batch_of(pair), Tolerance(1.0, 0.0), where="")


def test_the_same_infinity_on_both_sides_agrees(pair: Program) -> None:
    batch = {"x": torch.full((2, 8), math.inf)}
    figures = compare(pair, pair.run, [batch], FP32, where="")
    assert figures[0].relative_rms == 0.0


def test_another_shape_is_told(pair: Program) -> None:
    with pytest.raises(MismatchError, match="shape"):
        compare(pair, altered(pair, "float", lambda y: y[:1]), batch_of(pair), FP32, where="")


def test_several_batches_count_together(conv_program: Program, conv_onnx: Path) -> None:
    batches = [{"x": torch.randn(size, 3, 8, 8)} for size in (1, 4)]
    agreement = check(conv_program, conv_onnx, batches)
    assert agreement.samples == 5
    assert agreement.sizes == ({"batch": 2},)
    assert check(conv_program, conv_onnx, batches[1:]).sizes == ({"batch": 2},)
    assert check(conv_program, conv_onnx).sizes == ({"batch": 3},)
    assert 0 < agreement.error < 1e-5
    assert agreement.to_json()["outputs"][0]["name"] == "output"


class EvenOnly(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        torch._check(x.shape[0] % 2 == 0)
        return x.reshape(-1, 2, 3)


def test_a_size_that_the_model_itself_rejects_is_noted(tmp_path: Path) -> None:
    from boards import board

    from compressor.export.onnx import to_onnx

    program = capture(EvenOnly(), (torch.randn(4, 3),)).program
    to_onnx(program, board()).save(tmp_path / "model.onnx")
    agreement = check(program, tmp_path / "model.onnx")
    assert agreement.sizes == () or agreement.notes == ()
    assert len(agreement.sizes) + len(agreement.notes) == (1 if "batch" in str(program.inputs[0].shape) else 0)


class FirstFive(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, place] for place in range(5)]).sum(0)


def test_a_length_that_is_too_short_for_the_model_is_noted(tmp_path: Path) -> None:
    from boards import board

    from compressor.export.onnx import to_onnx

    program = capture(FirstFive(), (torch.randn(2, 5, 3),)).program
    to_onnx(program, board()).save(tmp_path / "model.onnx")
    agreement = check(program, tmp_path / "model.onnx")
    assert [note.partition(":")[0] for note in agreement.notes] == ["not tried at batch=2, sequence=4"]


def test_a_decoder_is_checked_with_and_without_a_past() -> None:
    program = tiny_decoder()
    batch = with_past(program.inputs, {"ids": torch.randint(1, 60, (2, 9))})
    seen: list[tuple[int, int]] = []

    def forgets(given: Batch) -> dict[str, Tensor]:
        seen.append((given["ids"].shape[1], given["past_key_values.states"].shape[1]))
        return program.run(given)

    agreement = check(program, Path("model.onnx"), [batch], run=forgets)
    assert {(9, 0), (5, 4), (1, 8), (8, 0)} <= set(seen)
    assert agreement.error == 0

    def wrong(given: Batch) -> dict[str, Tensor]:
        outputs = program.run(given)
        return outputs if not given["past_key_values.states"].shape[1] else {**outputs, "logits": outputs["logits"] + 1}

    with pytest.raises(MismatchError, match="logits"):
        check(program, Path("model.onnx"), [batch], run=wrong)
