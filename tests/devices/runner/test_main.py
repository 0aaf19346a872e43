"""The runner as a board runs it: a copied folder, a Python of its own, JSON lines on stdout."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from layout import imports

from compressor.devices.runner.main import NAMES, NEEDS, main
from compressor.devices.runner.tasks import TASKS
from compressor.devices.runners import RUNNER


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The folder under another name, where nothing of this project is importable."""
    return Path(shutil.copytree(RUNNER, tmp_path / "there" / "any-name"))


def test_it_runs_from_anywhere_on_a_plain_list_of_jobs(copied: Path, digits_bundle: Path) -> None:
    job = {"model": "model.onnx", "inputs": {"x": {"shape": [1, 1, 8, 8]}}, "threads": 1}
    shutil.copyfile(digits_bundle / "model.onnx", copied.parent / "model.onnx")
    (copied.parent / "jobs.json").write_text(json.dumps([job, {**job, "id": "second"}]))
    done = subprocess.run(
        [sys.executable, str(copied), "load", str(copied.parent / "jobs.json")],
        capture_output=True, text=True, check=False, cwd="/", env={},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events] == ["loaded", "loaded", "done"]
    assert [event.get("id") for event in events] == ["0", "second", None]


def test_it_imports_nothing_of_this_project_and_nothing_heavy(copied: Path) -> None:
    allowed = {"numpy", "onnxruntime", *sys.stdlib_module_names}
    for path in sorted(copied.glob("*.py")):
        named = {each.module.partition(".")[0] for each in imports(path.read_text(), "x.y", package=False)}
        more = {"tvm_ffi"} if path.name == "compiled.py" else set()  # for networks that TVM compiled, and alone
        assert named - {"x"} <= allowed | more, path.name


def test_it_is_python_3_8(copied: Path) -> None:
    for path in sorted(copied.glob("*.py")):
        ast.parse(path.read_text(), feature_version=(3, 8))


@pytest.mark.parametrize("package", NEEDS)
def test_a_missing_package_is_told(
    tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "jobs.json").write_text("[]")
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["check", str(tmp_path / "jobs.json")]) == 1
    [event] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (event["event"], event["package"]) == ("missing", package)


@pytest.mark.parametrize("arguments", [[], ["check"], ["fly", "jobs.json"], ["check", "jobs.json", "more"]])
def test_wrongly_called_it_says_how(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "usage" in capsys.readouterr().err


def test_every_task_has_a_name() -> None:
    assert set(NAMES) == set(TASKS)
