"""Requests are checked before anything slow starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compressor.errors import InputError, OutputError, RecipeError
from compressor.request import Request


def test_the_default_folder_is_model_and_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Request("m.pt").out_folder("jetson-orin-nano") == Path("m-jetson-orin-nano")


def test_an_existing_bundle_needs_force(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="--force"):
        Request("m.pt", out=tmp_path).out_folder("t")
    assert Request("m.pt", out=tmp_path, force=True).out_folder("t") == tmp_path


def test_a_missing_parent_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="parent folder"):
        Request("m.pt", out=tmp_path / "no" / "out").out_folder("t")


def test_a_target_is_needed() -> None:
    with pytest.raises(InputError, match="--target"):
        Request("m.pt").target_name(None)


@pytest.mark.parametrize("given", [{"passes": "fold"}, {"keep": ("stem.*",)}])
def test_what_a_recipe_lists_is_not_given_beside_it(given: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="exclude"):
        Request("m.pt", recipe=Path("r.toml"), **given).loaded_recipe()


def test_a_recipe_that_recovers_takes_no_other_budget(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text("[[pass]]\nname = 'recover'", encoding="utf-8")
    with pytest.raises(RecipeError, match="recovers already"):
        Request("m.pt", recipe=file, recover="5min").loaded_recipe()
    file.write_text("[[pass]]\nname = 'fold'", encoding="utf-8")
    assert Request("m.pt", recipe=file, recover="5min").loaded_recipe() is not None


def test_budgets_are_read() -> None:
    [latency, size] = Request("m.pt", latency="0.5x", size="2MB").budgets()
    assert (latency.axis, size.axis) == ("latency", "size")
    assert [budget.axis for budget in Request("m.pt", memory="30MB", energy="5mJ").budgets()] == ["memory", "energy"]


def test_a_budget_without_passes_is_planned(tmp_path: Path) -> None:
    assert Request("m.pt", energy="5mJ").plans
    assert Request("m.pt", time="10min").plans
    assert Request("m.pt", front=True).plans
    assert not Request("m.pt").plans
    assert not Request("m.pt", size="1MB", passes="fold").plans
    assert not Request("m.pt", size="1MB", recipe=tmp_path / "r.toml").plans
    assert Request("m.pt", time="1.5min").planning_seconds() == 90.0
    with pytest.raises(InputError, match="--time"):
        Request("m.pt", time="soon").planning_seconds()


def test_recovery_is_put_into_the_pass_list() -> None:
    from compressor.targets import load_target

    request = Request("m.pt", passes="fold", recover="3steps", teacher="t.pt")
    specs = request.pass_specs(load_target("jetson"), None, has_data=True)
    assert [str(spec) for spec in specs] == ["recover=3steps", "fold"]


def test_the_training_function_is_loaded_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def fn(model):\n    yield model\n", encoding="utf-8")
    request = Request("m.pt", train=f"{file}:fn")
    function = request.training_function()
    assert function is not None
    assert next(function("a")) == "a"
    assert Request("m.pt", train=function).training_function() is function
    assert Request("m.pt").training_function() is None
    with pytest.raises(InputError, match=r"not file\.py:function"):
        Request("m.pt", train="fn").training_function()
    with pytest.raises(InputError, match="no function"):
        Request("m.pt", train=f"{file}:other").training_function()


def test_a_changed_training_function_is_another(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("a = 1\n", encoding="utf-8")
    request = Request("m.pt", train=f"{file}:fn")
    first = request.training_identity()
    assert request.training_identity() == first
    file.write_text("a = 2\n", encoding="utf-8")
    assert request.training_identity() != first
    assert Request("m.pt").training_identity() == ""
    python = Request("m.pt", train=print)
    assert python.training_identity() != python.training_identity(), "a function has no content to compare"


def test_a_carbon_intensity_is_checked() -> None:
    assert Request("m.pt", carbon=30.0).carbon_intensity().g_per_kwh == 30.0
    assert Request("m.pt").carbon_intensity().source.startswith("assumed: ")
    with pytest.raises(InputError, match="carbon"):
        Request("m.pt", carbon=-1.0).carbon_intensity()


def test_what_is_said_of_planning_where_nothing_is_planned_is_refused() -> None:
    Request("m.pt", size="1MB", solver="gradient", time="5s").check_planning()
    for request in (Request("m.pt", solver="exact"), Request("m.pt", time="5s", passes="fold")):
        with pytest.raises(InputError, match="nothing is planned"):
            request.check_planning()
    with pytest.raises(InputError, match="no solver"):
        Request("m.pt", size="1MB", solver="exakt").check_planning()
