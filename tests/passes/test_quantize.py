"""The quantize pass on a trained network, through ONNX Runtime: accuracy, integer kernels, recipes, refusals."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from boards import board
from digits_net import digits_data, digits_model
from torch import Tensor

from compressor.errors import RecipeError
from compressor.export.onnx import to_onnx
from compressor.export.session import runner
from compressor.graph.capture import capture
from compressor.graph.contract import Context, Setting
from compressor.graph.program import Program
from compressor.passes.fold import Fold
from compressor.passes.quantize import Quantize
from compressor.targets.target import Provider, Target

UNSIGNED = board()
SIGNED = replace(UNSIGNED, providers=(Provider("CPUExecutionProvider", ("fp32", "int8"), ("*",), "int8", "test"),))
TENSORRT = replace(UNSIGNED, providers=(Provider("TensorrtExecutionProvider", ("int8",), ("*",), "int8", "test"),))


@pytest.fixture(scope="module")
def data() -> dict[str, Tensor]:
    return digits_data()


@pytest.fixture(scope="module")
def program(data: dict[str, Tensor]) -> Program:
    captured = capture(digits_model(), (data["calibration/x"][:2],)).program
    return Fold().run(captured, Context(UNSIGNED)).program


@pytest.fixture(scope="module")
def calibrated(program: Program, data: dict[str, Tensor]) -> Context:
    name = program.inputs[0].name
    return Context(UNSIGNED, calibration=[{name: part} for part in data["calibration/x"].split(64)], synthetic=False)


@pytest.fixture(scope="module")
def static(program: Program, calibrated: Context) -> Program:
    return Quantize().run(program, calibrated).program


def only_output(program: Program, x: Tensor) -> Tensor:
    return next(iter(program.run([x]).values()))


def accuracy(scores: Tensor, data: dict[str, Tensor]) -> float:
    return float((scores.argmax(1) == data["labels"]).float().mean())


def relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


def through_runtime(
    program: Program, x: Tensor, folder: Path, target: Target = UNSIGNED
) -> tuple[Tensor, Counter[str]]:
    """What ONNX Runtime computes, and the operators that it runs after its own fusions."""
    path = folder / "model.onnx"
    to_onnx(program, target).save(path)
    outputs = runner(path, threads=1)({program.inputs[0].name: x})
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.optimized_model_filepath = str(folder / "fused.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    fused = onnx.load(folder / "fused.onnx")
    return next(iter(outputs.values())), Counter(node.op_type for node in fused.graph.node)


def zero_points(program: Program) -> dict[str, int]:
    return {n: int(t) for n, t in program.tensors().items() if n.endswith("put_zero_point") and t.dim() == 0}


def test_static_int8_keeps_the_accuracy(program: Program, static: Program, data: dict[str, Tensor]) -> None:
    before, after = accuracy(only_output(program, data["x"]), data), accuracy(only_output(static, data["x"]), data)
    assert before > 0.97
    assert after > before - 0.01


def test_every_convolution_and_sum_runs_on_integers(static: Program, data: dict[str, Tensor], tmp_path: Path) -> None:
    outputs, operators = through_runtime(static, data["x"], tmp_path)
    assert operators["QLinearConv"] == 7
    assert operators["QLinearAdd"] == 2
    assert operators["QGemm"] == 1
    assert not {"Conv", "FusedConv", "Gemm", "MatMul", "Add", "Relu"} & set(operators)
    assert relative(outputs, only_output(static, data["x"])) < 0.002  # rounding of ties is all that differs


def test_the_stored_bytes_shrink_fourfold(program: Program, static: Program) -> None:
    assert static.unique_bytes() < 0.29 * program.unique_bytes()
    assert static.tensors()["stem.0.weight"].dtype == torch.int8


def test_the_given_program_is_untouched(program: Program, calibrated: Context) -> None:
    before = program.hash()
    for quantize in (Quantize(), Quantize("fp16")):
        quantize.run(program, calibrated)
        assert program.hash() == before


def test_quantized_programs_export_again(program: Program, static: Program, data: dict[str, Tensor]) -> None:
    x = data["x"][:5]  # the batch stays dynamic
    again = static.export().module(check_guards=False)
    assert torch.equal(again(x)[0], only_output(static, x))
    half = Quantize("fp16").run(program, Context(UNSIGNED)).program
    assert torch.equal(half.export().module(check_guards=False)(x)[0], only_output(half, x))


WEIGHTS_ALONE = {"solver": "nearest", "bias": "none", "equalize": "none"}


@pytest.mark.parametrize("quantize", [Quantize(), Quantize(mode="weight-only")], ids=str)
def test_settings_reproduce_the_program_on_the_same_data(
    quantize: Quantize, program: Program, calibrated: Context
) -> None:
    first = quantize.run(program, calibrated)
    again = Quantize(sites=first.settings).run(program, calibrated)
    assert again.program.hash() == first.program.hash()
    assert again.settings == first.settings
    with pytest.raises(RecipeError, match="there is no calibration data"):
        Quantize(sites=first.settings).run(program, Context(UNSIGNED))


@pytest.mark.parametrize(
    "quantize",
    [Quantize(**WEIGHTS_ALONE), Quantize(mode="weight-only", **WEIGHTS_ALONE), Quantize("fp16"), Quantize("bf16")],  # type: ignore[arg-type]
    ids=str,
)
def test_settings_reproduce_the_program_without_data(quantize: Quantize, program: Program, calibrated: Context) -> None:
    first = quantize.run(program, calibrated)
    again = Quantize(sites=first.settings).run(program, Context(UNSIGNED))
    assert again.program.hash() == first.program.hash()
    assert again.settings == first.settings
    assert again.changed == first.changed


def test_without_data_only_weights_are_integer_and_the_report_says_why(
    program: Program, data: dict[str, Tensor], tmp_path: Path
) -> None:
    result = Quantize().run(program, Context(UNSIGNED))
    assert [(skip.site, skip.reason) for skip in result.skipped] == [
        ("activations", "activations stay float: there is no calibration data")
    ]
    assert len(result.changed) == 8
    outputs, operators = through_runtime(result.program, data["x"], tmp_path)
    assert operators["DequantizeLinear"] == 8
    assert relative(outputs, only_output(program, data["x"])) < 0.02
    assert accuracy(outputs, data) > 0.96
    assert result.program.unique_bytes() < 0.27 * program.unique_bytes()


def test_a_target_without_integer_kernels_gets_weights_only(program: Program, calibrated: Context) -> None:
    float_only = replace(UNSIGNED, providers=(Provider("P", ("fp32",), ("*",), "", "test"),))
    result = Quantize().run(program, replace(calibrated, target=float_only))
    assert "board has no integer kernels" in result.skipped[0].reason
    assert not any("activation" in setting for setting in result.settings.values())


def test_signed_activations(program: Program, calibrated: Context, data: dict[str, Tensor], tmp_path: Path) -> None:
    result = Quantize().run(program, replace(calibrated, target=SIGNED))
    # After a ReLU the zero point is the lowest code, so that the runtime finds the ReLU redundant.
    assert {zero_points(result.program)[f"{name}.output_zero_point"] for name in ("stem.0", "pointwise.0")} == {-128}
    assert result.settings["stem.0"]["weights"] == "int8"
    outputs, _ = through_runtime(result.program, data["x"], tmp_path, SIGNED)
    assert relative(outputs, only_output(result.program, data["x"])) < 0.002
    assert accuracy(outputs, data) > 0.97


def test_tensorrt_gets_no_zero_points(program: Program, calibrated: Context) -> None:
    result = Quantize().run(program, replace(calibrated, target=TENSORRT))
    assert set(zero_points(result.program).values()) == {0}


def test_keep_leaves_layers_alone(program: Program, calibrated: Context) -> None:
    result = Quantize(keep=("stem*", "head.3.weight")).run(program, calibrated)
    assert {skip.site for skip in result.skipped} == {"stem.0", "head.3"}
    tensors = result.program.tensors()
    assert tensors["stem.0.weight"].dtype == tensors["head.3.weight"].dtype == torch.float32
    assert tensors["pointwise.0.weight"].dtype == torch.int8


def test_max_error_keeps_the_worst_layers_activations_float(program: Program, calibrated: Context) -> None:
    options = {(o.site, len(o.setting)): o for o in Quantize().options(program, calibrated)}
    damage = {site: o.damage or 0.0 for (site, size), o in options.items() if size > 2}
    bound = sorted(damage.values())[-3]
    result = Quantize(max_error=bound).run(program, calibrated)
    worst = {site for site, value in damage.items() if value > bound}
    assert len(worst) == 2
    assert {skip.site for skip in result.skipped} == worst
    assert {site for site in damage if "activation" not in result.settings[site]} == worst


def test_options_are_float_weights_alone_and_static(program: Program, calibrated: Context) -> None:
    found = [o for o in Quantize().options(program, calibrated) if o.site == "first.inner.0"]
    assert [o.setting["format"] for o in found] == ["fp32", "int8", "int8"]
    assert [o.bytes for o in found] == [4 * 9216, 9216 + 32 * 4, 9216 + 32 * 4]
    float_, weights, static = (o.damage for o in found)
    assert float_ == 0.0
    assert weights is not None
    assert static is not None
    assert 0.0 < weights < static < 0.05
    halves = [o for o in Quantize("fp16").options(program, calibrated) if o.site == "first.inner.0"]
    assert [(o.setting["format"], o.bytes) for o in halves] == [("fp32", 4 * 9216), ("fp16", 2 * 9216)]


def test_a_site_by_site_choice_runs_as_given(program: Program, calibrated: Context) -> None:
    every = Quantize().run(program, calibrated).settings
    chosen: dict[str, Setting] = {**every, "first.inner.0": {"format": "fp16"}, "second.outer.0": {"format": "fp32"}}
    del chosen["head.3"]
    result = Quantize(sites=chosen).run(program, calibrated)
    tensors = result.program.tensors()
    kinds = [tensors[f"{n}.weight"].dtype for n in ("stem.0", "first.inner.0", "second.outer.0", "head.3")]
    assert kinds == [torch.int8, torch.float16, torch.float32, torch.float32]
    x = calibrated.calibration[0]["x"]
    assert relative(only_output(result.program, x), only_output(program, x)) < 0.05


@pytest.mark.parametrize("calibrator", ["minmax", "percentile", "mse", "entropy"])
def test_every_calibrator_keeps_the_accuracy(
    calibrator: str, program: Program, calibrated: Context, data: dict[str, Tensor]
) -> None:
    result = Quantize(calibrator=calibrator, max_error=9.0).run(program, calibrated)  # type: ignore[arg-type]
    assert accuracy(only_output(result.program, data["x"]), data) > 0.96


def test_fp16_halves_the_bytes_and_keeps_the_interface(
    program: Program, data: dict[str, Tensor], tmp_path: Path
) -> None:
    result = Quantize("fp16").run(program, Context(UNSIGNED))
    assert result.skipped == ()
    assert result.program.unique_bytes() < 0.51 * program.unique_bytes()
    assert {t.dtype for t in result.program.tensors().values()} == {torch.float16}
    ours, theirs = only_output(result.program, data["x"]), only_output(program, data["x"])
    assert ours.dtype == torch.float32
    assert relative(ours, theirs) < 0.003
    outputs, _ = through_runtime(result.program, data["x"], tmp_path)
    assert relative(outputs, theirs) < 0.003


@pytest.mark.parametrize(
    ("site", "setting", "message"),
    [
        ("stem.0", {"format": "int9"}, "not one of int8, fp16, bf16, fp32, int4, int3, int2, ternary"),
        ("stem.0", {"format": "int8", "wieghts": "int8"}, "unknown key 'wieghts'"),
        ("stem.0", {"format": "int8", "weights": "int88"}, "Did you mean"),
        ("stem.0", {"format": "int8", "weights": "fp16"}, "not an integer format"),
        ("stem.0", {"format": "int8", "activation": "uint8"}, "no low and high"),
        ("stem.0", {"format": "int8", "activation": "uint8", "low": 1.0, "high": 0.0}, "not a range"),
        ("stem.0", {"format": "int8", "activation": "uint8", "low": 0.0}, "not a range"),
        ("stem.0", {"format": "int8", "low": 0.0, "high": 1.0}, "no activation format"),
        ("first.add", {"format": "int8"}, "no weights"),
        ("first.add", {"format": "int8", "activation": "uint8", "low": 0.0, "high": 1.0}, "no out_low and out_high"),
    ],
)
def test_settings_that_cannot_be_carried_out(program: Program, site: str, setting: Setting, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        Quantize(sites={site: setting}).run(program, Context(UNSIGNED))
    assert site in str(caught.value)


def test_a_site_that_the_model_lacks_is_told(program: Program) -> None:
    result = Quantize(sites={"nowhere": {"format": "int8"}}).run(program, Context(UNSIGNED))
    assert [(skip.site, skip.reason) for skip in result.skipped] == [("nowhere", "the model has no such layer")]
    assert result.changed == ()


def test_milder_leaves_more_activations_float_in_the_end_all() -> None:
    tried: list[dict[str, object]] = []
    step = Quantize()
    while (milder := step.milder()) is not None:
        tried.append(dict(milder))
        step = replace(step, **milder)  # type: ignore[arg-type]
    assert tried == [{"max_error": 0.02}, {"max_error": 0.01}, {"mode": "weight-only"}]
    assert Quantize(format="fp16").milder() is None


def test_milder_takes_smaller_blocks_and_never_another_format() -> None:
    assert Quantize("int4").milder() == {"block": 64}
    assert Quantize("int2", block=64).milder() == {"block": 32}
    assert Quantize("int2", block=32).milder() is None


def test_a_recipe_of_another_targets_integers_is_refused(program: Program, calibrated: Context) -> None:
    sites = Quantize().run(program, calibrated).settings
    other = board(providers=(Provider("TensorrtExecutionProvider", ("fp32", "int8"), ("*",), "int8", "test"),))
    with pytest.raises(RecipeError, match="activation is 'uint8', and board computes with int8 activations"):
        Quantize(sites=sites).run(program, Context(other))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"samples": 0}, "samples is 0"),
        ({"max_error": -1.0}, "max_error is"),
        ({"block": 256}, "not one of 32, 64, 128"),
    ],
)
def test_numbers_that_make_no_sense(options: dict[str, Any], text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        Quantize(**options)


def test_a_wish_is_calibrated_where_it_stands(program: Program, calibrated: Context) -> None:
    wish: Setting = {"format": "int8", "activation": "auto"}
    result = Quantize(sites={"stem.0": wish, "first.inner.0": wish}).run(program, calibrated)
    tensors = result.program.tensors()
    assert tensors["stem.0.weight"].dtype == tensors["first.inner.0.weight"].dtype == torch.int8
    assert tensors["first.outer.0.weight"].dtype == torch.float32
    assert {"low", "high", "activation"} <= set(result.settings["first.inner.0"])
    again = Quantize(sites=result.settings).run(program, calibrated)
    assert again.program.hash() == result.program.hash()


def test_what_is_said_of_a_module_holds_for_its_layers(program: Program, calibrated: Context) -> None:
    result = Quantize(sites={"first": {"format": "int8", "activation": "auto"}}).run(program, calibrated)
    stored = {name: tensor.dtype for name, tensor in result.program.tensors().items() if name.endswith(".0.weight")}
    assert {name for name, kind in stored.items() if kind == torch.int8} == {
        "first.inner.0.weight", "first.outer.0.weight"
    }  # fmt: skip


def test_a_wish_for_a_layer_that_is_not_there_is_told(program: Program, calibrated: Context) -> None:
    result = Quantize(sites={"gone": {"format": "int8", "activation": "auto"}}).run(program, calibrated)
    assert [(skip.site, skip.reason) for skip in result.skipped] == [("gone", "the model has no such layer")]
    assert not result.changed


def test_what_the_planner_weighs(calibrated: Context) -> None:
    assert [each.format for each in Quantize.planned(calibrated, {"latency"})] == ["int8"]  # type: ignore[attr-defined]
    formats = [each.format for each in Quantize.planned(calibrated, {"size"})]  # type: ignore[attr-defined]
    assert formats == ["int8", "int4", "ternary"]
