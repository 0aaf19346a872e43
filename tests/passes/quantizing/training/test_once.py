"""One training for several budgets: better than rounding at each, trained once, replayed, and declined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from boards import board
from recovery import Listener, Stopping
from torch import Tensor, nn

from compressor.cache import Cache, Shelf
from compressor.errors import RecipeError
from compressor.export.check import check
from compressor.export.onnx import to_onnx
from compressor.graph.capture import capture
from compressor.graph.contract import Context, PassResult
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize
from compressor.passes.quantizing.training import Lesson, once, taught_once

BUDGETS = (3.2, 4.5, 6.5)


class Net(nn.Module):
    """Values of 16 numbers, by way of layers wide enough for blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(16, 64), nn.Linear(64, 6)
        self.inner = nn.ModuleList(nn.Linear(64, 64) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        for layer in self.inner:
            x = x + torch.relu(layer(x))
        return self.head(x)


@pytest.fixture(scope="module")
def net() -> Program:
    torch.manual_seed(0)
    return capture(Net().eval(), (torch.randn(4, 16),)).program


@pytest.fixture(scope="module")
def context(net: Program, tmp_path_factory: pytest.TempPathFactory) -> Context:
    x = torch.randn(384, 16, generator=torch.Generator().manual_seed(1))
    batches = [{"x": part} for part in x.split(32)]
    shelf = Shelf(Cache(tmp_path_factory.mktemp("cache")), "here")
    return Context(board(), calibration=batches[:2], training=batches, teacher=net, synthetic=False, shelf=shelf)


def mixed(bits: float, train: bool = True) -> Quantize:
    how = {"budgets": "3.2/4.5/6.5", "train": "90steps", "rate": 0.003} if train else {"solver": "mse", "bias": "none"}
    return Quantize("mixed", block=32, mode="weight-only", slower=True, equalize="none", bits=bits, **how)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def results(net: Program, context: Context) -> dict[float, PassResult]:
    return {bits: mixed(bits).run(net, context) for bits in BUDGETS}


def error(program: Program, net: Program) -> float:
    x = torch.randn(256, 16, generator=torch.Generator().manual_seed(2))
    [expected], [found] = net.run([x]).values(), program.run([x]).values()
    return float((found - expected).norm() / expected.norm())


def test_every_budget_is_served(net: Program, context: Context, results: dict[float, PassResult]) -> None:
    errors = [error(results[bits].program, net) for bits in BUDGETS]
    rounded = [error(mixed(bits, train=False).run(net, context).program, net) for bits in BUDGETS]
    assert "the networks of 3.2/4.5/6.5 bits a weight, on average" in results[4.5].notes[-2]
    assert [results[bits].notes[-1] for bits in BUDGETS] == [
        f"this network is that of {bits:g} bits a weight, of one training for 3.2/4.5/6.5" for bits in BUDGETS
    ]
    assert errors[0] < 0.6 * rounded[0]
    assert errors[1] < 0.8 * rounded[1]
    assert errors == sorted(errors, reverse=True)
    formats = {bits: [str(each.get("format")) for each in r.settings.values()] for bits, r in results.items()}
    assert formats[3.2].count("int2") > formats[6.5].count("int2")


def test_it_is_trained_once(
    net: Program, context: Context, results: dict[float, PassResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(once, "recover", never)
    listener = Listener()
    again = mixed(4.5).run(net, replace(context, progress=listener))
    assert again.program.hash() == results[4.5].program.hash()
    assert any("from the cache" in text for text in listener.said)
    with pytest.raises(AssertionError, match="trained again"):
        replace(mixed(4.5), train="91steps").run(net, context)


def test_a_recipe_trains_the_same_again(net: Program, context: Context, results: dict[float, PassResult]) -> None:
    result = results[3.2]
    assert result.settings["program"]["budgets"] == "3.2/4.5/6.5"
    again = Quantize(sites=result.settings).run(net, replace(context, shelf=None))
    assert again.program.hash() == result.program.hash()
    assert again.settings == result.settings


def test_a_killed_training_goes_on_to_the_same_weights(
    net: Program, context: Context, results: dict[float, PassResult], tmp_path: Path
) -> None:
    stopped = replace(context, shelf=None, checkpoint=tmp_path / "state", progress=Stopping(2))
    with pytest.raises(KeyboardInterrupt):
        mixed(4.5).run(net, stopped)
    listener = Listener()
    again = mixed(4.5).run(net, replace(stopped, progress=listener))
    assert any("continues after step" in text for text in listener.said)
    assert again.program.hash() == results[4.5].program.hash()


def test_what_is_stored_is_a_plain_quantized_network(tmp_path: Path, results: dict[float, PassResult]) -> None:
    program = results[3.2].program
    assert not [name for name in program.tensors() if "left" in name or "choice" in name]
    to_onnx(program, board()).save(tmp_path / "model.onnx")
    assert check(program, tmp_path / "model.onnx").error < 1e-2


def test_without_data_it_rounds(net: Program, context: Context) -> None:
    result = mixed(4.5).run(net, replace(context, training=()))
    assert "no data to train on" in next(skip.reason for skip in result.skipped if skip.site == "program")
    rounded = mixed(4.5, train=False).run(net, context).program
    assert error(result.program, net) == pytest.approx(error(rounded, net), rel=0.3)
    assert "program" not in result.settings
    empty = taught_once(net, Lesson("5steps", budgets="3/4"), context)
    assert not isinstance(empty, once.Once)
    assert "no layer" in empty.reason


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Quantize("int4", budgets="3/4", train="5steps"),
        lambda: Quantize("mixed", budgets="3/4"),
        lambda: Quantize("mixed", budgets="4/3", train="5steps"),
        lambda: Quantize("mixed", budgets="3/4", train="5steps", norm=True),
    ],
)
def test_what_cannot_be_is_refused(wrong: Callable[[], Quantize]) -> None:
    with pytest.raises(RecipeError, match="budgets"):
        wrong()
