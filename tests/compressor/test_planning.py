"""Budgets on the command line: a plan, carried out, measured and pinned in a recipe."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from compressor import api, planning
from compressor.board import Board, Readings
from compressor.cli.main import run
from compressor.devices.bench import Limits
from compressor.devices.device import Description
from compressor.devices.local import Measurement
from compressor.passlist import PassSpec

pytestmark = pytest.mark.usefixtures("weighed_once")


def _arguments(digits: Path, *more: str) -> list[str]:
    return [str(digits / "model.pt"), "--data", str(digits / "data.npz"), "-q", *more]


def _report(out: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((out / "report.json").read_text())
    return found


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory, digits: Path, weighed_once: None) -> Path:
    """Half the bytes and seventeen twentieths of the predicted time on a Raspberry Pi."""
    out = tmp_path_factory.mktemp("planned") / "bundle"
    budgets = ["--size", "0.5x", "--latency", "0.85x", "--target", "raspberry-pi-5", "--recover", "40steps"]
    budgets += ["--max-drop", "3%"]
    assert run(_arguments(digits, *budgets, "--out", str(out))) == 0
    return out


def test_both_budgets_hold(planned: Path) -> None:
    report = _report(planned)
    before, after = report["before"], report["after"]
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert after["file_bytes"] <= 0.5 * before["file_bytes"]
    assert after["latency_ms"]["predicted"] <= 0.85 * before["latency_ms"]["predicted"]
    assert after["metric"] >= 0.97 * before["metric"]
    assert any("planned with the exact solver" in note for note in report["notes"])  # type: ignore[attr-defined]


def test_the_recipe_says_why_site_by_site_and_does_the_same_again(planned: Path, digits: Path, tmp_path: Path) -> None:
    recipe = tomllib.loads((planned / "recipe.toml").read_text())
    passes = {entry["name"]: entry for entry in recipe["pass"]}
    assert "damage" in next(iter(passes["prune"]["reasons"].values()))
    out = tmp_path / "again"
    assert run(_arguments(digits, "--recipe", str(planned / "recipe.toml"), "--out", str(out))) == 0
    assert (out / "model.onnx").read_bytes() == (planned / "model.onnx").read_bytes()
    assert tomllib.loads((out / "recipe.toml").read_text())["pass"] == recipe["pass"]


def test_what_cannot_be_met_ends_with_the_closest_and_by_how_much(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "tight"
    arguments = _arguments(digits, "--target", "raspberry-pi-5", "--latency", "0.01x", "--recover", "none")
    assert run([*arguments, "--out", str(out)]) == 3
    report = _report(out)
    assert "latency budget 0.01x missed" in report["verdict"]["reason"]  # type: ignore[index]
    assert any("the closest is predicted" in note for note in report["notes"])  # type: ignore[attr-defined]
    assert report["after"]["latency_ms"]["predicted"] < report["before"]["latency_ms"]["predicted"]  # type: ignore[index]
    assert (out / "model.onnx").is_file()


def test_a_dry_run_shows_the_plan_and_writes_nothing(
    digits: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    capfd.readouterr()
    assert run(_arguments(digits, "--target", "raspberry-pi-5", "--latency", "0.8x", "--dry-run", "--json")) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["after"]["latency_ms"]["predicted"] <= 0.81 * found["before"]["latency_ms"]["predicted"]
    assert {entry["name"] for entry in found["passes"]} >= {"fold", "prune"}
    assert all(entry["changed"] for entry in found["passes"] if entry["name"] != "recover")
    assert not list(tmp_path.iterdir())


def test_the_least_of_what_max_drop_allows(digits: Path, tmp_path: Path) -> None:
    """`min` goes on until the metric falls too far, and writes the least that kept it."""
    out = tmp_path / "bundle"
    arguments = _arguments(digits, "--target", "raspberry-pi-5", "--latency", "min", "--recover", "none")
    assert run([*arguments, "--max-drop", "10%", "--out", str(out)]) == 0
    report = _report(out)
    before, after = report["before"], report["after"]
    assert after["metric"] >= 0.9 * before["metric"]  # type: ignore[index]
    assert after["latency_ms"]["predicted"] < 0.75 * before["latency_ms"]["predicted"]  # type: ignore[index]
    assert any("what was measured corrected the plan" in note for note in report["notes"])  # type: ignore[attr-defined]


def test_memory_and_energy_are_budgets(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    budgets = ["--memory", "0.6x", "--energy", "0.9x", "--recover", "none", "--max-drop", "5%"]
    assert run(_arguments(digits, "--target", "raspberry-pi-5", *budgets, "--out", str(out))) == 0
    report = _report(out)
    before, after = report["before"], report["after"]
    memory = [f["unique_bytes"] + f["peak_activation_bytes"] for f in (before, after)]  # type: ignore[index]
    assert memory[1] <= 0.6 * memory[0]
    joules = [f["energy"]["joules"]["value"] for f in (before, after)]  # type: ignore[index]
    assert joules[1] <= 0.9 * joules[0]


def _room(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, lost_after: int = 99) -> list[str]:
    """A board on which a network takes a millisecond for each 100 kB of its file, whatever is predicted, until it is
    lost; what it was asked to measure."""
    asked: list[str] = []

    def compare(self: Board, bundles: Sequence[Path], *, strict: bool = False) -> Readings:
        if len(asked) >= lost_after:
            self.lost = "the connection was lost"
            return Readings()
        asked.extend(each.name for each in bundles)
        found = [(each / "model.onnx").stat().st_size / 1e5 for each in bundles]
        return Readings(tuple(Measurement(1.0, p, p, p, p, p, 6, 4, "made up", None, (p,) * 6) for p in found))

    device = Board(f"ssh://pi@{name}", Description("Linux", "aarch64", "A76", 4, 0, "3.11"), Limits(), folder)
    monkeypatch.setattr(api, "reach", lambda url, target, *_, **__: device)
    monkeypatch.setattr(Board, "compare", compare)
    return asked


def _there(name: str, digits: Path, out: Path, latency: str) -> list[str]:
    budget = ["--target", "raspberry-pi-5", "--latency", latency, "--recover", "none", "--max-drop", "50%"]
    return _arguments(digits, *budget, "--device", f"ssh://pi@{name}", "--out", str(out))


def test_a_board_corrects_the_plan(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, out = _room("kitchen", tmp_path, monkeypatch), tmp_path / "bundle"
    assert run(_there("kitchen", digits, out, "1ms")) == 0
    report = _report(out)
    assert report["after"]["latency_ms"]["measured"] <= 1.0  # type: ignore[index]
    assert report["measured_on"] == "ssh://kitchen (A76)"
    notes: list[str] = report["notes"]  # type: ignore[assignment]
    assert any(re.match(r"times are .*, bent to \d+ cuts of this network on ssh://kitchen", note) for note in notes)
    assert any(re.match(r"the original takes 3\.\d+ ms where \d\.\d+ ms was predicted", note) for note in notes)
    assert any("the interval of nine of ten networks" in note for note in notes)
    assert asked[0] == "original-0", "before anything was planned"
    assert "candidate-8" in asked, "cuts in turn with the original"


def test_a_board_that_is_lost_leaves_a_plan_in_the_originals_units(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its roofline alone would call the original, of 3 ms, within any such budget."""
    asked, out = _room("cellar", tmp_path, monkeypatch, lost_after=1), tmp_path / "bundle"
    assert run(_there("cellar", digits, out, "2.6ms")) == 0
    report = _report(out)
    assert asked == ["original-0"]
    before, after = (report[side]["latency_ms"] for side in ("before", "after"))  # type: ignore[index]
    assert after["measured"] is None
    assert before["predicted"] < 1.0
    assert after["predicted"] < 0.85 * before["predicted"]


def test_no_time_leaves_everything_as_it_is_and_says_so(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "hasty"
    arguments = _arguments(digits, "--target", "raspberry-pi-5", "--size", "0.5x", "--time", "1ms", "--no-cache")
    assert run([*arguments, "--recover", "none", "--out", str(out)]) == 3
    assert any("--time was over" in note for note in _report(out)["notes"])  # type: ignore[attr-defined]


def test_a_budget_with_passes_is_no_plan(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "named"
    arguments = _arguments(digits, "--target", "raspberry-pi-5", "--size", "0.5x", "--passes", "int8")
    assert run([*arguments, "--out", str(out)]) == 0
    assert [entry["chosen_by"] for entry in _report(out)["passes"]] == ["user"]  # type: ignore[attr-defined]


def test_what_only_prepares_is_followed_by_what_it_is_for() -> None:
    """As the planner carries it out, whose figures are of merged layers."""
    specs = [PassSpec("linearize", {}, {"up": {"through": "down"}}, "planner"), PassSpec("prune", {}, {}, "planner")]
    assert [spec.name for spec in planning._merged(specs)] == ["linearize", "fold", "prune"]
    assert [spec.name for spec in planning._merged(specs[1:])] == ["prune"]
