"""`--front`: recipes, a table and a plot."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

import compressor
from compressor.cli.main import run
from compressor.errors import InputError

pytestmark = pytest.mark.usefixtures("weighed_once")


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, digits: Path, weighed_once: None) -> Path:
    out = tmp_path_factory.mktemp("front") / "plans"
    arguments = [str(digits / "model.pt"), "--data", str(digits / "data.npz"), "--target", "raspberry-pi-5", "-q"]
    assert run([*arguments, "--front", "--recover", "none", "--out", str(out)]) == 0
    return out


def test_a_recipe_a_plan(front: Path) -> None:
    plans = json.loads((front / "manifest.json").read_text())["front"]
    assert len(plans) >= 8
    assert plans[0]["what"] == "the original"
    assert {path.stem for path in (front / "plans").iterdir()} == {plan["name"] for plan in plans}
    assert (front / "front.html").read_text().count("<circle") == len(plans)


def test_a_plan_carried_out_costs_what_was_predicted(front: Path, digits: Path, tmp_path: Path) -> None:
    plans = json.loads((front / "manifest.json").read_text())["front"]
    built = [plan for plan in plans if "not built" not in plan["what"]]
    plan = built[len(built) // 2]
    recipe = front / "plans" / f"{plan['name']}.toml"
    assert tomllib.loads(recipe.read_text())["target"] == "raspberry-pi-5"
    out = tmp_path / "bundle"
    arguments = [str(digits / "model.pt"), "--data", str(digits / "data.npz"), "-q", "--max-drop", "100%"]
    assert run([*arguments, "--recipe", str(recipe), "--out", str(out)]) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["after"]["latency_ms"]["predicted"] == pytest.approx(plan["latency_ms"], rel=0.01)
    assert report["after"]["unique_bytes"] == pytest.approx(plan["bytes"], rel=0.01)


def test_from_python_and_again_from_what_was_kept(front: Path, digits: Path) -> None:
    found = compressor.front(
        digits / "model.pt", target="raspberry-pi-5", data=digits / "data.npz", recover="none", dry_run=True
    )
    assert found.folder is None
    plans = json.loads((front / "manifest.json").read_text())["front"]
    assert [point.latency_ms for point in found.points] == pytest.approx([plan["latency_ms"] for plan in plans])


def test_another_board_is_answered_without_running_the_network(
    front: Path, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compressor.plan.swap.carried_out", None)  # each would be called
    monkeypatch.setattr("compressor.plan.whole.realize", None)
    monkeypatch.setattr("compressor.plan.probe._probe", None)
    plans = json.loads((front / "manifest.json").read_text())["front"]
    found = compressor.front(
        digits / "model.pt", target="raspberry-pi-4", data=digits / "data.npz", recover="none", dry_run=True
    )
    assert len(found.points) >= 8
    assert any("not built" not in point.what for point in found.points[1:])
    assert "where a plan was not built" in found.reason
    assert found.points[0].latency_ms > 1.5 * plans[0]["latency_ms"]  # the older board


def test_passes_and_a_front_exclude_each_other(digits: Path) -> None:
    with pytest.raises(InputError, match="--front plans by itself"):
        compressor.front(digits / "model.pt", target="raspberry-pi-5", passes="fold")
