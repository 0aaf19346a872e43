"""Linearize end to end, with fold after it, on a trained network."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from compressor.errors import RecipeError
from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.program import Program
from compressor.passes.fold import Fold
from compressor.passes.linearize import Linearize
from tests.per_kernel import context, images, trained

DATA = [{"x": x} for x, _ in images(24, 3)]


@pytest.fixture(scope="module")
def data() -> Context:
    return replace(context(), calibration=DATA[:8], training=DATA)


def accuracy(program: Program) -> float:
    found = [(program.run([x]).values(), labels) for x, labels in images(20, 7)]
    return sum(float((next(iter(scores)).argmax(1) == labels).float().mean()) for scores, labels in found) / len(found)


@pytest.mark.parametrize(("train", "by"), [("none", "greedy"), ("40steps", "auto")])
def test_half_of_the_activations_go_and_fold_makes_fewer_layers(data: Context, train: str, by: str) -> None:
    program = trained()
    original = program.hash()
    searched = {} if by == "greedy" else {"search": "10steps"}
    result = Linearize(by=by, train=train, **searched).run(program, data)  # type: ignore[arg-type]
    assert program.hash() == original
    assert 3 <= len(result.changed) <= 4, "of seven"
    assert set(result.changed).isdisjoint(skip.site for skip in result.skipped)
    merged = Fold().run(result.program, data).program
    dense = Fold().run(program, data).program
    assert len(list(merged.nodes())) < len(list(dense.nodes())) - 3
    [ours], [theirs] = merged.run(DATA[0]).values(), result.program.run(DATA[0]).values()
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)
    assert accuracy(merged) > accuracy(program) - 0.03
    again = Linearize(sites=result.settings).run(program, data)
    assert again.program.hash() == result.program.hash()
    assert (again.changed, again.settings) == (result.changed, result.settings)


def test_kept_layers_keep_their_activations(data: Context) -> None:
    result = Linearize(amount=1.0, train="none", keep=("two.*",)).run(trained(), data)
    assert not any(name.startswith("two.") for name in result.changed)
    assert "kept" in {s.site: s.reason for s in result.skipped}["two.norm1"]
    assert all(result.program.get(n).equal(t) for n, t in trained().tensors().items() if n.startswith("two."))
    recipe = Linearize(keep=("two.*",), sites={"two.expand": {"through": "two.project"}}).run(trained(), data)
    assert not recipe.changed


def test_options_have_three_numbers(data: Context) -> None:
    options = list(Linearize().options(trained(), data))
    before = data.latency.predict(Fold().run(trained(), data).program, data.target).latency_ms  # type: ignore[union-attr]
    assert {option.site for option in options} >= {"one.expand", "two.expand", "up"}
    for option in options:
        assert option.latency_ms is not None
        assert option.latency_ms < before
        assert option.damage is not None
        assert option.damage >= 0
    small = next(option for option in options if option.site == "up")
    assert small.bytes < Fold().run(trained(), data).program.unique_bytes()


def test_what_cannot_merge_stays_with_the_reason() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 1, 1), torch.nn.ReLU(), torch.nn.Conv2d(8, 3, 3, 1, 1))
    program = capture(model.eval(), (torch.randn(1, 3, 8, 8),)).program
    result = Linearize().run(program, context())
    assert (result.changed, result.program) == ((), program)
    assert "pads its input with zeros, which 0 would not give there" in result.skipped[0].reason


@pytest.mark.parametrize(
    "options", [{"amount": 0}, {"amount": 1.5}, {"train": "soon"}, {"search": "5min"}, {"rate": 0}, {"losses": "hope"}]
)
def test_options_that_make_no_sense(options: dict[str, float]) -> None:
    with pytest.raises(RecipeError):
        Linearize(**options)  # type: ignore[arg-type]


def test_what_it_wants() -> None:
    assert Linearize().learns()
    assert not Linearize(train="none", by="greedy").learns()
    assert Linearize().milder() == {"amount": 0.25}
    assert Linearize(amount=0.06).milder() is None
    assert not Linearize(sites={"up": {"through": "down"}}).learns()
