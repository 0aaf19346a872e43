"""`--recover` and `--teacher`: where the pass goes, and whole runs on the digits."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from boards import board
from recovery import damaged, digits_batches, digits_program
from torch import nn

from compressor import passes
from compressor.cli.main import run
from compressor.errors import InputError, RecipeError
from compressor.graph import storage
from compressor.graph.capture import capture
from compressor.graph.contract import Context, Pass, PassResult
from compressor.graph.program import Program
from compressor.passes.recover import Recover
from compressor.passlist import PassSpec, parse_passes
from compressor.recovering import load_teacher, split_recovery, taught, trained_as_rounded, trains, with_recovery


@dataclass(frozen=True)
class Damage(Pass):
    """Zeroes a share of the weights: a structural pass to recover from."""

    name: ClassVar[str] = "damage"
    main: ClassVar[str] = "share"
    structural: ClassVar[bool] = True
    share: float = 0.6

    def run(self, program: Program, context: Context) -> PassResult:
        return PassResult(damaged(program, self.share), ("everything",), settings={"program": {"share": self.share}})


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    original = passes.find_pass
    for module in ("passlist", "recovering"):
        monkeypatch.setattr(
            f"compressor.{module}.find_pass", lambda name: Damage if name in ("damage", "sparsify") else original(name)
        )


def placed(text: str, recover: str | None, *, teacher: bool = False) -> str:
    return ",".join(map(str, with_recovery(parse_passes(text), recover, teacher=teacher)))


def test_recover_goes_after_the_last_structural_pass() -> None:
    assert placed("damage,fold,int8", "5min") == "damage,recover=5min,fold,quantize=int8"
    assert placed("damage,damage=0.1,int8", "9steps") == "damage,damage=0.1,recover=9steps,quantize=int8"
    assert placed("sparsify,int8", "9steps") == "sparsify,recover=9steps:zeros=keep,quantize=int8"


def test_recover_in_the_list_takes_over_and_none_is_none() -> None:
    assert placed("recover=3steps,damage", "5min") == "recover=3steps,damage"
    assert placed("damage,distill=3steps", "5min") == "damage,recover=3steps"
    assert placed("damage", "none") == "damage"
    assert placed("damage", None) == "damage"


def test_a_teacher_alone_distils() -> None:
    assert placed("fold,int8", None, teacher=True) == "recover=3epochs,fold,quantize=int8"
    assert placed("fold,int8", "none", teacher=True) == "fold,quantize=int8"


def test_what_is_no_budget_is_refused_before_anything_runs() -> None:
    with pytest.raises(RecipeError, match="300steps") as error:
        placed("fold", "soon")
    assert error.value.where == "--recover"


def test_which_passes_need_training_data() -> None:
    assert trains(parse_passes("fold,recover"))
    assert not trains(parse_passes("fold,int8"))


def compressed(digits: Path, out: Path, *arguments: str, model: Path | None = None) -> dict[str, object]:
    common = ["--data", str(digits / "data.npz"), "--target", "web-wasm", "--out", str(out), "-q"]
    assert run([str(model or digits / "model.pt"), *common, *arguments]) == 0
    return dict(json.loads((out / "report.json").read_text()))


def metric(report: dict[str, object], when: str) -> float:
    figures = report[when]
    assert isinstance(figures, dict)
    return float(figures["metric"])


def test_recovery_from_the_command_line(digits: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = [str(digits / "model.pt"), "--data", str(digits / "data.npz"), "--target", "web-wasm"]
    arguments += ["--passes", "damage,fold,int8", "--cache-dir", str(tmp_path / "cache")]
    assert run([*arguments, "--recover", "20steps", "--out", str(tmp_path / "a")]) == 0
    told = capfd.readouterr()
    assert "recover 100%: loss" in told.err
    assert "recover (budget=20steps), user: changed" in told.out
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert [entry["name"] for entry in report["passes"]] == ["damage", "recover", "fold", "quantize"]
    recipe = (tmp_path / "a" / "recipe.toml").read_text()
    assert 'losses = "output+hidden"' in recipe
    assert run([*arguments, "--recover", "20steps", "--out", str(tmp_path / "b")]) == 0
    assert "recover 100%" not in capfd.readouterr().err, "the finished stage comes out of the cache"
    assert not list((tmp_path / "cache").glob(".work-*"))


@pytest.mark.parametrize("option", ["--recover", "--teacher"])
def test_without_data_there_is_nothing_to_learn_from(
    digits: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], option: str
) -> None:
    arguments = [str(digits / "model.pt"), "--target", "web-wasm", "--out", str(tmp_path / "o"), "--passes", "fold"]
    given = {"--recover": "5steps", "--teacher": str(digits / "model.pt")}[option]
    assert run([*arguments, option, given]) == 2
    assert f"{option}: there is no data to train on" in capfd.readouterr().err
    assert not (tmp_path / "o").exists()


def small_student(path: Path) -> Path:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(),
                            nn.Linear(128, 10))  # fmt: skip
    storage.save(capture(network, (digits_batches()[0]["x"][:2],)).program, path)
    return path


def test_a_teacher_teaches_another_architecture(
    digits: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report = compressed(
        digits, tmp_path / "o", "--teacher", str(digits / "model.pt"), "--passes", "fold", "--recover", "150steps",
        "--max-drop", "100%", model=small_student(tmp_path / "student.pt2"),
    )  # fmt: skip
    entries = report["passes"]
    assert isinstance(entries, list)
    assert [entry["name"] for entry in entries] == ["recover", "fold"]
    text = json.dumps(report)
    assert '"reverted": "' not in text
    del capfd


def test_a_teacher_with_other_classes_is_refused(digits: Path, tmp_path: Path) -> None:
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
    path = tmp_path / "other.pt2"
    storage.save(capture(other, (torch.randn(2, 1, 8, 8),)).program, path)
    with pytest.raises(InputError, match="same classes"):
        load_teacher(path, digits_program(), trust=False)
    arguments = [str(digits / "model.pt"), "--data", str(digits / "data.npz"), "--target", "web-wasm"]
    assert run([*arguments, "--teacher", str(path), "--out", str(tmp_path / "o")]) == 2


def test_a_teacher_that_takes_other_inputs_is_refused() -> None:
    with pytest.raises(InputError, match="--teacher"):
        load_teacher(nn.Linear(3, 10), digits_program(), trust=False)


def test_what_a_teacher_says_goes_under_the_students_names() -> None:
    student = digits_program()
    teacher = load_teacher(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), student, trust=False)
    batch = digits_batches()[0]
    found = taught(teacher, student, batch)
    assert list(found) == [spec.name for spec in student.outputs]
    assert torch.equal(next(iter(found.values())), teacher.run([batch["x"]])["output"])


def test_recover_keeps_its_pass_through_replace() -> None:
    assert replace(Recover("3steps"), losses="kl").budget == "3steps"


def test_bits_are_not_trained_without_data(digits: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = [str(digits / "model.pt"), "--target", "web-wasm", "--out", str(tmp_path / "o")]
    assert run([*arguments, "--passes", "fold,int2:block=32:train=5steps"]) == 2
    told = capfd.readouterr().err
    assert "--passes quantize: train=5steps: there is no data to train on" in told
    assert "Add --data" in told


@pytest.mark.parametrize(
    ("budget", "cut", "bits", "shares"),
    [
        ("300steps", True, True, ("225steps", "75steps")),
        ("4min", True, True, ("180s", "60s")),
        ("1steps", True, True, ("1steps", "1steps")),
        ("2epochs", True, False, ("2epochs", "none")),
        ("2epochs", False, True, ("none", "2epochs")),
        ("300steps", False, False, ("none", "none")),
        ("none", True, True, ("none", "none")),
    ],
)
def test_recovery_comes_after_structure_and_after_bits(
    budget: str, cut: bool, bits: bool, shares: tuple[str, str]
) -> None:
    assert split_recovery(budget, cut=cut, bits=bits) == shares


def test_bits_are_trained_as_they_will_be_rounded() -> None:
    batches = digits_batches()
    context = Context(board(), calibration=batches, training=batches, synthetic=False, teacher=digits_program())
    wish = PassSpec("quantize", {}, {"second.inner.0": {"format": "int8", "activation": "auto"}}, "planner")
    assert trained_as_rounded(wish, "none") is wish
    result = trained_as_rounded(wish, "4steps").build().run(digits_program(), context)
    [skip] = result.skipped  # one layer in eight bits leaves nothing to learn
    assert (skip.site, skip.reason[:7]) == ("program", "4 steps")
    assert result.settings["second.inner.0"]["format"] == "int8"
    prune = PassSpec("prune", {}, {})
    assert trained_as_rounded(prune, "4steps") is prune
