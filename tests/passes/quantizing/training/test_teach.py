"""Quantization-aware training end to end: better than rounding, the same for the same seed, resumed, and declined."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from boards import board
from recovery import Listener, Stopping, digits_batches, digits_program
from torch import Tensor, nn

from compressor.errors import RecipeError
from compressor.export.check import check
from compressor.export.onnx import to_onnx
from compressor.graph.capture import capture
from compressor.graph.contract import Context, PassResult
from compressor.graph.program import Program
from compressor.passes.fold import Fold
from compressor.passes.quantize import Quantize
from compressor.passes.quantizing.training import Lesson, taught


class Net(nn.Module):
    """Classes of 16 numbers, by way of layers wide enough for blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner, self.head = nn.Linear(16, 64), nn.Linear(64, 64), nn.Linear(64, 6)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.first(x))
        return self.head(hidden + torch.relu(self.inner(hidden)))


@pytest.fixture(scope="module")
def net() -> Program:
    torch.manual_seed(0)
    return capture(Net().eval(), (torch.randn(4, 16),)).program


@pytest.fixture(scope="module")
def context(net: Program) -> Context:
    x = torch.randn(384, 16, generator=torch.Generator().manual_seed(1))
    batches = [{"x": part} for part in x.split(32)]
    return Context(board(), calibration=batches[:1], training=batches, teacher=net, synthetic=False)


def error(program: Program, net: Program) -> float:
    x = torch.randn(256, 16, generator=torch.Generator().manual_seed(2))
    [expected], [found] = net.run([x]).values(), program.run([x]).values()
    return float((found - expected).norm() / expected.norm())


def quantized(net: Program, context: Context, **options: object) -> Program:
    return Quantize(**{"format": "ternary", "block": 32, **options}).run(net, context).program  # type: ignore[arg-type]


def test_training_beats_rounding_and_replays_from_its_recipe(net: Program, context: Context, tmp_path: Path) -> None:
    before, plain = net.hash(), quantized(net, context, solver="mse", bias="none")
    listener = Listener()
    told = replace(context, progress=listener)
    result = Quantize("ternary", block=32, train="60steps", rate=0.003).run(net, told)
    assert listener.callers == {"quantize"}
    assert error(result.program, net) < 0.7 * error(plain, net)
    assert "trained for 60 steps" in result.notes[-1]
    assert result.settings["program"] == {"train": "60steps", "losses": "output+hidden", "rate": 0.003}
    again = Quantize(sites=result.settings)
    assert again.learns()
    assert again.run(net, context).program.hash() == result.program.hash()
    assert net.hash() == before
    to_onnx(result.program, board()).save(tmp_path / "model.onnx")
    assert check(result.program, tmp_path / "model.onnx").error < 1e-2


@pytest.mark.parametrize("scale", ["tensor", "row", "block"])
def test_bitnet_with_norms(net: Program, context: Context, scale: str) -> None:
    options = {"rule": "absmean", "scale": scale, "norm": True, "train": "60steps", "rate": 0.003}
    result = Quantize("ternary", block=32, **options).run(net, context)  # type: ignore[arg-type]
    assert error(result.program, net) < error(
        quantized(net, context, solver="mse", bias="none"), net
    )  # though rounding had the best scales
    assert result.notes[0] == "a norm was put before 2 layers"
    again = Quantize(sites=result.settings).run(net, context)
    assert again.program.hash() == result.program.hash()


@pytest.fixture(scope="module")
def digits() -> tuple[Program, Context, PassResult]:
    teacher, batches = digits_program(), digits_batches()[:5]
    context = Context(board(), calibration=batches[:1], training=batches, teacher=teacher, synthetic=False)
    program = Fold().run(teacher, context).program
    return program, context, Quantize(solver="nearest", bias="none", equalize="none").run(program, context)


@pytest.mark.parametrize("ranges", ["learned", "settle"])
def test_int8_of_a_trained_network(digits: tuple[Program, Context, PassResult], ranges: str) -> None:
    program, context, plain = digits
    listener = Listener()
    pinned = Quantize(sites={**plain.settings, "program": {"train": "24steps", "rate": 5e-5, "ranges": ranges}})
    result = pinned.run(program, replace(context, progress=listener))
    assert not [skip for skip in result.skipped if skip.site == "program"]
    assert {k: v for k, v in result.settings.items() if k != "program"} == plain.settings
    [first, *_, last] = [figures["best"] for _, figures in listener.told]
    assert last < first
    programs = (context.teacher or program, plain.program, result.program)
    exact, before, after = (next(iter(p.run(context.training[0]).values())) for p in programs)
    assert float((after - exact).norm()) < float((before - exact).norm())


def test_a_killed_training_goes_on_to_the_same_weights(net: Program, context: Context, tmp_path: Path) -> None:
    work = Quantize("ternary", block=32, train="40steps", rate=0.003, ranges="settle")
    whole = work.run(net, context)
    stopped = replace(context, checkpoint=tmp_path / "state", progress=Stopping(2))
    with pytest.raises(KeyboardInterrupt):
        work.run(net, stopped)
    listener = Listener()
    again = work.run(net, replace(stopped, progress=listener))
    assert any("continues after step" in text for text in listener.said)
    assert again.program.hash() == whole.program.hash()


def test_what_training_found_no_solver_did(net: Program, context: Context) -> None:
    trained = Quantize("int4", block=32, train="10steps").run(net, context)
    assert "program" in trained.settings, "it helped"
    sites = [setting for site, setting in trained.settings.items() if site != "program"]
    assert not any({"solver", "bias"} & set(setting) for setting in sites)
    again = Quantize(sites=trained.settings).run(net, context)
    assert again.program.hash() == trained.program.hash()
    rounded = Quantize("int4", block=32).run(net, context)
    assert "gptq" in {setting.get("solver") for setting in rounded.settings.values()}


def test_int8_starts_where_its_codes_are_near(digits: tuple[Program, Context, PassResult]) -> None:
    """At the default rate the loss never goes far above that of rounding, which is hard to beat."""
    program, context, _ = digits
    listener = Listener()
    result = Quantize(train="40steps").run(program, replace(context, progress=listener))
    assert not [skip for skip in result.skipped if skip.site == "program"]
    told = [figures for _, figures in listener.told]
    assert max(figures["held-out"] for figures in told) < 4 * told[0]["best"]
    assert told[-1]["best"] < told[0]["best"]


def test_what_is_kept_is_not_trained(net: Program, context: Context) -> None:
    result = Quantize("int4", block=32, train="10steps", rate=0.003, keep=("head",)).run(net, context)
    assert torch.equal(result.program.get("head.weight"), net.get("head.weight"))
    assert not torch.equal(result.program.get("first.weight"), net.get("first.weight"))


def test_where_there_is_nothing_to_train_with_it_rounds(net: Program, context: Context) -> None:
    for changes, reason in (({"training": ()}, "no data to train on"), ({"teacher": None}, "no original")):
        result = Quantize("int4", block=32, train="5steps").run(net, replace(context, **changes))  # type: ignore[arg-type]
        assert result.program.hash() == quantized(net, context, format="int4").hash()
        assert reason in next(skip.reason for skip in result.skipped if skip.site == "program")
        assert "program" not in result.settings
    nothing = taught(net, {"head": {"format": "fp32"}}, Lesson("5steps"), context)
    assert "nothing is quantized" in nothing.skipped[0].reason
    assert nothing.program is net


def test_a_training_that_does_not_help_leaves_what_rounding_gives(net: Program, context: Context) -> None:
    result = Quantize("int4", block=32, train="2steps", rate=10.0, norm=True).run(net, context)
    reasons = [skip.reason for skip in result.skipped if skip.site == "program"]
    if reasons:  # the norm is taken back, too
        assert "rounded without training" in reasons[0]
        assert result.program.hash() == quantized(net, context, format="int4").hash()
    result = Quantize("int4", block=32, train="2steps", rate=10.0).run(net, context)
    assert "rounded without training" in next(s.reason for s in result.skipped if s.site == "program")


@pytest.mark.parametrize(
    ("options", "text"),
    [({"format": "fp16", "train": "5steps"}, "fp16 takes no notice of train"), ({"norm": True}, "norm changes what"),
     ({"format": "ternary", "rule": "minmax", "train": "5steps"}, "two scales"), ({"train": "soon"}, "not a budget")],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused(options: dict[str, object], text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        Quantize(**options)  # type: ignore[arg-type]
