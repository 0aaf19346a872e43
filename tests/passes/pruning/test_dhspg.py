"""DHSPG: trained once from scratch, the units that go at zero in the end, and their cut exact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from boards import board
from recovery import DIGITS, Listener, Stopping, accuracy, digits_program
from sklearn.datasets import load_digits
from tiny import text_batches, tiny_gpt
from torch import Tensor, nn

from compressor.errors import InputError, PassError
from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.cost import Roofline
from compressor.graph.program import Program
from compressor.load.factory import build
from compressor.passes.prune import Prune
from compressor.passes.pruning import dhspg as module
from compressor.passes.pruning.choose import Chooser
from compressor.passes.pruning.dhspg import HalfSpace, redundancy
from compressor.passes.pruning.job import Job, prepared
from compressor.passes.pruning.lessons import backward, losses

IMAGES, LABELS = (torch.from_numpy(part) for part in load_digits(return_X_y=True))
X, Y = (IMAGES.float() / 16).reshape(-1, 1, 8, 8)[:1257], LABELS.long()[:1257]
PRUNE = Prune(amount=0.7, how="dhspg", steps=150, rate=5e-3)


def train(model: nn.Module) -> Iterator[Tensor]:
    for index in torch.randperm(len(X)).split(64):
        yield nn.functional.cross_entropy(model(X[index]), Y[index])


def train_text(model: nn.Module) -> Iterator[Tensor]:
    for batch in text_batches(4):
        scores = model(batch["ids"])
        yield nn.functional.cross_entropy(scores[:, :-1].flatten(0, 1), batch["ids"][:, 1:].flatten())


CONTEXT = Context(board(), latency=Roofline(), train=train)


def _fresh() -> Program:
    torch.manual_seed(0)
    return capture(build(f"{DIGITS / 'model.py'}:build"), (X[:2],)).program


@pytest.mark.slow
def test_trained_once_from_scratch_it_is_as_good_as_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    program, listener = _fresh(), Listener()
    done = PRUNE.run(program, replace(CONTEXT, progress=listener))
    macs = [Roofline().predict(p, CONTEXT.target).macs for p in (program, done.program)]
    assert macs[1] <= 0.3 * 1.01 * macs[0]
    assert done.settings == {}
    zero = [figures["units at zero"] for _, figures in listener.told]
    assert zero[-1] == 1.0
    assert zero[:4] == [0.0] * 4, "the first fifth only trains"
    monkeypatch.setattr(module, "START", 2.0)
    dense = PRUNE.run(program, CONTEXT)
    assert dense.program.parameters() == program.parameters()
    assert accuracy(dense.program) > 0.9
    assert accuracy(done.program) > accuracy(dense.program) - 0.015


def _halfway(program: Program, steps: int = 20) -> HalfSpace:
    job = Job(prepared(program), 0.5, Chooser("magnitude", "uniform", 4, 0.1, ()), [], CONTEXT, steps=steps, rate=5e-3)
    return HalfSpace(job, set())


def test_units_at_zero_are_sliced_off_exactly() -> None:
    torch.manual_seed(0)
    training = _halfway(digits_program())
    feed = losses(train, training.pupil)
    for number in range(20):
        training.step(feed, number)
    trainee = training.masked.trainee
    whole, smaller = trainee.finished(trainee.state()), training.exact()
    [wanted], [got] = (program.run([X[:64]]).values() for program in (whole, smaller))
    assert float((got - wanted).abs().max() / wanted.abs().max()) <= 1e-5
    assert smaller.unique_bytes() < 0.8 * whole.unique_bytes()
    assert training.gone
    rows = training.masked.rows.sums({n: p.detach().abs() for n, p in training.parameters.items()})
    assert bool((rows[training.penalized] == 0).all())
    assert bool((rows[~training.penalized] > 0).all())


def test_a_cut_that_is_not_exact_is_an_error() -> None:
    torch.manual_seed(0)
    training = _halfway(digits_program())
    training.gone = list(training.job.dimensions.dimensions[0].units[:4])  # they are not zero
    with pytest.raises(PassError, match="when units that are zero are cut off") as error:
        training.exact()
    assert "--keep" in error.value.way_out


def test_small_weights_that_the_gradient_pulls_to_zero_are_redundant() -> None:
    training = _halfway(digits_program())
    weights = {name: p.detach().clone() for name, p in training.parameters.items()}
    inner = next(d for d in training.job.dimensions.dimensions if d.name == "first.inner.0")
    number = training.units.index(inner.units[3])
    off = torch.ones(len(training.units))
    off[number] = 0.01
    for name in training.masked.rows.axes:
        weights[name] *= training.masked.rows.factor(name, off)
    slopes = {name: -w for name, w in weights.items()}
    for name in ("first.inner.0.weight", "first.inner.1.weight"):
        slopes[name] = slopes[name].clone()
        slopes[name][3] = weights[name][3]
    assert int(redundancy(training.masked, weights, slopes).argmax()) == number


def test_widths_that_a_norm_runs_over_take_no_part() -> None:
    done = Prune(amount=0.3, how="dhspg", steps=10, multiple=4).run(tiny_gpt(), replace(CONTEXT, train=train_text))
    assert done.program.get("head.weight").shape == (128, 32)
    assert done.program.get("blocks.0.mlp.0.weight").shape[0] < 128
    assert any("a norm runs over it" in skip.reason for skip in done.skipped)


def test_without_a_function_it_says_what_to_give() -> None:
    with pytest.raises(InputError, match="how=dhspg trains the network with your own function") as error:
        PRUNE.run(digits_program(), replace(CONTEXT, train=None))
    assert "--train file.py:fn" in error.value.way_out


def test_what_the_user_keeps_stays() -> None:
    short = replace(PRUNE, steps=4, keep=("stem.*",))
    done = short.run(digits_program(), CONTEXT)
    assert done.program.get("stem.0.weight").shape[0] == 32
    assert any(skip.reason == "you asked to keep it" for skip in done.skipped)


def test_the_seed_decides() -> None:
    short = replace(PRUNE, steps=4)
    hashes = [short.run(digits_program(), replace(CONTEXT, seed=seed)).program.hash() for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_gradients_are_taken_by_the_pass() -> None:
    training = _halfway(digits_program())
    loss = next(losses(train, training.pupil))
    backward(loss, training.parameters.values())
    assert all(p.grad is not None for p in training.parameters.values())


def test_an_interrupted_training_goes_on(tmp_path: Path) -> None:
    short = replace(PRUNE, steps=40)
    context = replace(CONTEXT, checkpoint=tmp_path / "checkpoint.pt", progress=Stopping(after=12))
    with pytest.raises(KeyboardInterrupt):
        short.run(_fresh(), context)
    listener = Listener()
    done = short.run(_fresh(), replace(context, progress=listener))
    assert listener.told[0][0] > 12 / 20
    assert listener.told[-1][1]["units at zero"] == 1.0
    assert done.program.parameters() < _fresh().parameters()
