"""Self-guided training: both paths in one student, the dense one gone in the end, and better than the cut alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from boards import board
from narrow_nets import linear_net, net_batches
from programs import text

from compressor.errors import RecipeError
from compressor.graph.contract import Context, PassResult, Progress
from compressor.graph.functional import functional_copy
from compressor.graph.mode import set_mode
from compressor.graph.program import Program
from compressor.passes.factorize import Factorize
from compressor.passes.factorizing.guide import RAMP, make_student
from compressor.passes.factorizing.settings import Choice
from compressor.passes.factorizing.sites import find_sites
from compressor.passes.factorizing.solve import solve
from compressor.passes.recover.trainee import untrainable

BATCHES = net_batches(512)
CONTEXT = Context(board(), calibration=BATCHES, training=BATCHES, teacher=linear_net(), synthetic=False)
OPTIONS = {"amount": 0.8, "method": "svd", "slower": True}
TRAINING = {"train": "60steps", "rate": 0.003}


@pytest.fixture(scope="module")
def guided() -> PassResult:
    return Factorize(**OPTIONS, **TRAINING).run(linear_net(), CONTEXT)  # type: ignore[arg-type]


def error(program: Program) -> float:
    [exact], [ours] = (list(each.run(net_batches(64)[0]).values()) for each in (linear_net(), program))
    return float((ours - exact).norm() / exact.norm())


def test_a_student_is_dense_at_first_and_thin_when_judged() -> None:
    program, _ = functional_copy(linear_net())
    sites, choice = find_sites(program)[0], Choice(8)
    found = list(solve(program, sites, {site.name: [choice] for site in sites}, (), CONTEXT.progress))
    student = make_student(program, found)
    thin = Factorize(sites={site.name: choice.setting() for site in sites}).run(linear_net(), CONTEXT).program
    [batch] = net_batches(32)
    [wanted], [judged] = (list(each.run(batch).values()) for each in (thin, student))
    torch.testing.assert_close(judged, wanted)
    training = set_mode(student, batch_norm=False, blending=True)
    assert error(training) < 1e-5, "the ramp is at its start"
    student.get(RAMP).fill_(1.0)
    assert error(training) == pytest.approx(error(thin))
    assert untrainable(student) is None


def test_training_beats_the_cut_and_leaves_no_dense_weight(guided: PassResult) -> None:
    cut = Factorize(**OPTIONS).run(linear_net(), CONTEXT)  # type: ignore[arg-type]
    assert error(guided.program) < 0.5 * error(cut.program)
    assert set(guided.program.tensors()) == set(cut.program.tensors())
    assert guided.changed == cut.changed
    assert any("held-out loss of the thin layers" in note for note in guided.notes)
    assert guided.settings["program"]["train"] == "60steps"


def test_its_settings_train_the_same_again(guided: PassResult) -> None:
    again = Factorize(sites=guided.settings).run(linear_net(), CONTEXT)
    assert again.program.hash() == guided.program.hash()
    assert again.settings == guided.settings


def test_without_data_it_says_so_and_cuts() -> None:
    done = Factorize(train="5steps", **OPTIONS).run(linear_net(), replace(CONTEXT, training=()))  # type: ignore[arg-type]
    assert any(skip.site == "program" and "no data to train on" in skip.reason for skip in done.skipped)
    assert any("no data to train on" in note for note in done.notes)
    assert done.changed
    assert "program" not in done.settings


def test_it_asks_for_training_data_and_refuses_what_makes_no_sense() -> None:
    assert Factorize(train="5steps").learns()
    assert not Factorize().learns()
    with pytest.raises(RecipeError, match="train"):
        Factorize(train="soon")


def test_a_tied_embedding_stays_one_while_it_is_trained() -> None:
    program = text()
    [name] = [site.name for site in find_sites(functional_copy(program)[0])[0] if site.kind == "tied"]
    words = {spec.name: tensor for spec, tensor in zip(program.inputs, program.example, strict=True)}
    given = replace(CONTEXT, calibration=[words], training=[words] * 8, teacher=program)
    sites = {name: {"rank": 4}, "program": {"train": "6steps", "rate": 0.01}}
    done, cut = (Factorize(sites={n: sites[n] for n in chosen}).run(program, given) for chosen in (sites, [name]))
    assert "program" in done.settings, "it was trained"
    assert done.program.parameters() == cut.program.parameters() < program.parameters()
    changed = {n for n, t in done.program.tensors().items() if not torch.equal(t, cut.program.get(n))}
    assert {n for n in changed if n.endswith(("first.weight", "second.weight"))}


def test_a_run_that_was_killed_goes_on_to_the_same_result(guided: PassResult, tmp_path: Path) -> None:
    class Killed(Progress):
        def figures(self, what: str, done: float, figures: Mapping[str, float]) -> None:
            if done > 0.4:
                raise KeyboardInterrupt

    interrupted = replace(CONTEXT, checkpoint=tmp_path / "training", progress=Killed())
    with pytest.raises(KeyboardInterrupt):
        Factorize(**OPTIONS, **TRAINING).run(linear_net(), interrupted)  # type: ignore[arg-type]
    assert (tmp_path / "training").exists()
    again = Factorize(**OPTIONS, **TRAINING).run(linear_net(), replace(interrupted, progress=Progress()))  # type: ignore[arg-type]
    assert again.program.hash() == guided.program.hash()
