"""Passes run in order, are verified and gated, and resume from the cache."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from compressor import passes
from compressor.cache import Cache
from compressor.errors import PassError
from compressor.gate import Gate
from compressor.graph import edit
from compressor.graph.capture import capture
from compressor.graph.contract import Context, Pass, PassResult, Progress
from compressor.graph.program import Program
from compressor.making import Ledger, Spent
from compressor.passlist import PassSpec
from compressor.pipeline import Pipeline, take_back
from compressor.recipe import Recipe, dump_recipe
from compressor.targets import load_target


@dataclass(frozen=True)
class Scale(Pass):
    """Multiplies the first weight; with `pad`, stores a tensor that makes the program bigger."""

    name: ClassVar[str] = "scale"
    main: ClassVar[str] = "factor"
    runs: ClassVar[list[float]] = []
    factor: float = 2.0
    pad: int = 0

    def milder(self) -> dict[str, float] | None:
        return {"factor": self.factor / 2} if self.factor > 2 else None

    def run(self, program: Program, context: Context) -> PassResult:
        self.runs.append(self.factor)
        if self.factor == 13:
            raise RuntimeError("an unlucky number")
        if self.factor == 1:
            return PassResult(program)
        changed = program.copy()
        edit.set_tensor(changed, "0.weight", program.get("0.weight") * self.factor)
        if self.pad:
            output = next(iter(reversed(changed.graph.nodes)))
            [result] = output.args[0]
            extra = edit.add_tensor(changed, "extra", torch.zeros(self.pad, 3), before=output)
            row = edit.insert(changed, torch.ops.aten.sum.dim_IntList, (extra, [0]), like=result, before=output)
            output.args = (
                (edit.insert(changed, torch.ops.aten.add.Tensor, (result, row), like=result, before=output),),
            )
        settings, back = {"0.weight": {"factor": self.factor}}, {"0": torch.full((1, 3), 1 / self.factor)}
        missed = f"{self.factor:g} is less than 5" if self.factor == 4.5 else ""
        return PassResult(edit.finish(changed), ("0.weight",), (), settings, ("scaled",), back, missed)


@dataclass(frozen=True)
class Ready(Scale):
    """The same, only to prepare for what comes next."""

    name: ClassVar[str] = "ready"
    prepares: ClassVar[bool] = True


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"scale": Scale, "ready": Ready}
    monkeypatch.setattr("compressor.passlist.find_pass", lambda name: known.get(name) or passes.find_pass(name))
    Scale.runs.clear()


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    return capture(nn.Sequential(nn.Linear(4, 3)), (torch.randn(2, 4),)).program


Run = Callable[..., list[Any]]
BY_SIZE = Gate("size")


@pytest.fixture
def run(program: Program, tmp_path: Path) -> Run:
    def go(*specs: PassSpec, gate: Gate = BY_SIZE, cache: Cache | None = None) -> list[Any]:
        context = Context(target=load_target("jetson"))
        return Pipeline(context, gate, cache or Cache(None), "f").run(program, specs)

    return go


def _spec(factor: float, chosen_by: str = "user", **options: Any) -> PassSpec:
    return PassSpec("scale", {"factor": factor, **options}, {}, chosen_by)  # type: ignore[arg-type]


def test_a_pass_that_trains_is_announced_and_has_a_file_for_its_state(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path | None] = []
    told: list[tuple[PassSpec, tuple[str, ...]]] = []

    def watch(self: Scale, program: Program, context: Context) -> PassResult:
        seen.append(context.checkpoint)
        return PassResult(program)

    monkeypatch.setattr(Scale, "run", watch)
    spec = PassSpec("scale", {"factor": 3.0})
    for trains in (False, True):
        monkeypatch.setattr(Scale, "trains", trains)
        cache = Cache(tmp_path / str(trains))
        pipeline = Pipeline(
            Context(load_target("jetson")),
            BY_SIZE,
            cache,
            "",
            ("x",),
            lambda spec, keep, program: told.append((spec, keep)),
        )
        pipeline.run(program, [spec])
    assert told == [(spec, ("x",))]
    assert seen[0] is not None
    assert seen[0].is_relative_to(tmp_path)


def test_passes_build_on_each_other(run: Run, program: Program) -> None:
    stages = run(_spec(2.0), _spec(3.0))
    assert torch.equal(stages[-1].program.get("0.weight"), program.get("0.weight") * 6)
    assert stages[1].report.changed == ("0.weight",)
    assert stages[1].spec.sites == {"0.weight": {"factor": 3.0}}


def test_a_bigger_default_is_reverted_and_the_next_builds_on_what_was_before(run: Run, program: Program) -> None:
    stages = run(_spec(2.0, "default", pad=50), _spec(3.0))
    assert "size got worse" in stages[0].report.reverted
    assert torch.equal(stages[1].program.get("0.weight"), program.get("0.weight") * 3)


def test_a_bigger_named_pass_is_warned_about_unless_strict(run: Run) -> None:
    [stage] = run(_spec(2.0, pad=50))
    assert stage.kept
    assert "kept because you named this pass" in stage.report.warning
    assert "kept" not in (take_back(stage, "the metric fell").report.warning or "")
    [stage] = run(_spec(2.0, pad=50), gate=Gate("size", strict=True))
    assert not stage.kept


def test_a_stage_from_the_cache_costs_what_it_took_when_it_was_made(program: Program, tmp_path: Path) -> None:
    def making(cache: Cache) -> Any:
        with Ledger() as ledger:
            Pipeline(Context(load_target("jetson")), BY_SIZE, cache, "f", ledger=ledger).run(program, [_spec(2.0)])
            return ledger.making()

    cache = Cache(tmp_path)
    assert making(cache).earlier_cpu_seconds == 0
    [file] = tmp_path.glob("*/result.json")
    said = json.loads(file.read_text())
    assert Spent.from_json(said["spent"]).seconds > 0
    file.write_text(json.dumps({**said, "spent": Spent(9.0, 70.0, 700.0, measured=False).to_json()}))
    again = making(cache)
    assert again.earlier_cpu_seconds == 70.0
    assert again.joules >= 700.0
    assert not again.measured
    assert Scale.runs == [2.0]
    file.write_text(json.dumps({**said, "spent": None}))  # not known
    assert making(cache).earlier_cpu_seconds == 0
    file.write_text(json.dumps({**said, "spent": "much"}))  # damaged: made again
    assert making(cache).earlier_cpu_seconds == 0
    assert Scale.runs == [2.0, 2.0]


def test_a_run_that_was_interrupted_adds_what_it_had_taken(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Scale, program: Program, context: Context) -> PassResult:
        raise KeyboardInterrupt

    cache = Cache(tmp_path)
    with Ledger() as ledger:
        pipeline = Pipeline(Context(load_target("jetson")), BY_SIZE, cache, "f", ledger=ledger)
        with monkeypatch.context() as patch:
            patch.setattr(Scale, "run", interrupted)
            with pytest.raises(KeyboardInterrupt):
                pipeline.run(program, [_spec(2.0)])
    [note] = tmp_path.glob(".work-*/spent.json")
    note.write_text(json.dumps(Spent(9.0, 70.0, 700.0, measured=False).to_json()))
    with Ledger() as ledger:
        replace(pipeline, ledger=ledger).run(program, [_spec(2.0)])
        assert ledger.making().earlier_cpu_seconds == 70.0
    assert not note.exists()
    [file] = tmp_path.glob("*/result.json")
    assert json.loads(file.read_text())["spent"]["cpu_seconds"] >= 70.0


def test_a_pass_that_changes_nothing_says_so(run: Run) -> None:
    assert run(_spec(1.0))[0].report.warning == "changed nothing"


def test_settings_keep_their_order_in_the_cache(
    run: Run, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe is the same whether or not the run was interrupted."""
    settings = {"z": {"rank": 2, "by": "b"}, "a": {"y": 1.5, "x": True}}
    monkeypatch.setattr(Scale, "run", lambda self, program, context: PassResult(program.copy(), ("z",), (), settings))
    texts = [
        dump_recipe(Recipe(tuple(stage.spec for stage in run(_spec(2.0), cache=Cache(tmp_path))))) for _ in range(2)
    ]
    assert texts[0] == texts[1]
    assert texts[0].index("sites.z") < texts[0].index("sites.a")


def test_what_changes_nothing_leaves_the_program_as_it_was(
    run: Run, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recipe leaves the pass out, so it must not have written anything otherwise, either."""
    monkeypatch.setattr(Scale, "run", lambda self, program, context: PassResult(program.copy()))
    for _ in range(2):  # made, and from the cache
        [stage] = run(_spec(2.0), cache=Cache(tmp_path))
        assert stage.program is program


def test_a_failing_default_is_reverted_and_a_failing_named_pass_fails(run: Run) -> None:
    [stage] = run(_spec(13.0, "default"))
    assert "an unlucky number" in stage.report.reverted
    with pytest.raises(PassError, match=r"pass scale.*an unlucky number"):
        run(_spec(13.0))


def test_finished_stages_resume_from_the_cache(run: Run, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with pytest.raises(PassError):
        run(_spec(2.0), _spec(13.0), cache=cache)
    [first, second] = run(_spec(2.0), _spec(3.0), cache=cache)
    assert Scale.runs == [2.0, 13.0, 3.0]  # the first pass ran once
    assert (first.report.changed, first.report.notes) == (("0.weight",), ("scaled",))
    assert torch.equal(first.rescaled["0"], torch.full((1, 3), 0.5))
    assert second.kept


def test_a_goal_that_is_missed_is_a_warning_from_the_cache_too(run: Run, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    warnings = [run(_spec(4.5), cache=cache)[0].report.warning for _ in range(2)]
    assert warnings == ["4.5 is less than 5"] * 2
    assert Scale.runs == [4.5]
    [bigger] = run(_spec(4.5, pad=100), cache=cache)
    assert (bigger.report.warning or "").startswith("4.5 is less than 5; size got worse by")


def test_a_damaged_entry_is_computed_again(run: Run, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    run(_spec(2.0), cache=cache)
    for file in tmp_path.rglob("program.pt2"):
        file.write_bytes(b"not a program")
    run(_spec(2.0), cache=cache)
    assert Scale.runs == [2.0, 2.0]


def _pipeline() -> Pipeline:
    return Pipeline(Context(target=load_target("jetson")), BY_SIZE, Cache(None), "f")


def test_easing_runs_the_pass_again_with_less_damage_until_it_cannot(program: Program) -> None:
    [stage] = _pipeline().run(program, [_spec(8.0, "default")])
    milder = _pipeline().ease(program, stage, "accuracy fell")
    assert milder is not None
    assert torch.equal(milder.program.get("0.weight"), program.get("0.weight") * 4)
    assert milder.report.warning == "accuracy fell; factor=4.0 was tried next"
    mildest = _pipeline().ease(program, milder, "fell again")
    assert mildest is not None
    assert (mildest.spec.options, mildest.spec.sites) == ({"factor": 2.0}, {"0.weight": {"factor": 2.0}})
    assert (mildest.report.warning or "").startswith("accuracy fell; factor=4.0 was tried next; fell again")
    assert _pipeline().ease(program, mildest, "still") is None


@pytest.mark.parametrize(("chosen_by", "options"), [("recipe", {}), ("user", {"pad": 0})])
def test_what_the_user_chose_is_not_eased(program: Program, chosen_by: str, options: dict[str, int]) -> None:
    [stage] = _pipeline().run(program, [_spec(8.0, chosen_by, **options)])
    assert _pipeline().ease(program, stage, "accuracy fell") is None


@pytest.mark.parametrize("pad", [100, 0])
def test_what_prepares_is_judged_with_the_pass_after_it(run: Run, program: Program, pad: int) -> None:
    """Bigger by itself, and with what follows: both go, and the next pass builds on what was before them."""
    ready = PassSpec("ready", {"factor": 3.0, "pad": pad}, {}, "default")
    first, second, third = run(ready, _spec(2.0, "default"), _spec(5.0))
    assert (first.kept, second.kept, third.kept) == ((False, False, True) if pad else (True, True, True))
    scale = third.program.get("0.weight") / program.get("0.weight")
    torch.testing.assert_close(scale, torch.full_like(scale, 5.0 if pad else 30.0))
    if pad:
        assert "got worse" in second.report.reverted
        assert first.report.reverted == "it prepares for scale, which was taken back"


def test_what_prepares_for_nothing_stands(run: Run) -> None:
    [only] = run(PassSpec("ready", {"factor": 3.0}, {}, "default"))
    assert only.kept


def test_a_stage_that_another_run_makes_is_waited_for(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have it in the end, and it was made once."""
    begun, waited = threading.Event(), threading.Event()

    class Said(Progress):
        def say(self, text: str) -> None:
            if "another run" in text:
                waited.set()

    def slow(self: Scale, program: Program, context: Context) -> PassResult:
        begun.set()
        assert waited.wait(20)
        return made(self, program, context)

    made = Scale.run
    monkeypatch.setattr(Scale, "run", slow)
    context = Context(load_target("jetson"), progress=Said())
    runs = [Pipeline(context, BY_SIZE, Cache(tmp_path), "f") for _ in range(2)]
    with ThreadPoolExecutor() as threads:
        first = threads.submit(runs[0].run, program, [_spec(3.0)])
        assert begun.wait(20)
        [second] = runs[1].run(program, [_spec(3.0)])
    assert Scale.runs == [3.0]
    assert second.program.hash() == first.result()[0].program.hash()
