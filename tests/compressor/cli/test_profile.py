"""`compress profile` on the command line: what it is called with, and what it says."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compressor import profiling
from compressor.cli.main import run


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def stand_in(device: Any, target: Any, out: Path, work: Path, limits: Any, model: str, **_: Any) -> SimpleNamespace:
        found.update(device=device.url, target=target.name, out=out, limits=limits, model=model)
        about = {"kernels": 700, "networks": 30, "seconds": 90}
        return SimpleNamespace(profile=SimpleNamespace(about=about), failures={"net@1": "load: no"})

    monkeypatch.setattr(profiling, "profile", stand_in)
    return found


def test_what_is_asked_for_is_what_is_measured(
    asked: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--time", "5min", "--kernels", "700", "--threads", "2,1", "--out", str(tmp_path / "p"), "-q"]
    assert run(["profile", "--device", "local", *arguments]) == 0
    assert (asked["device"], asked["target"], asked["out"]) == ("local", "host", tmp_path / "p")
    assert asked["model"] == "features"
    assert (asked["limits"].seconds, asked["limits"].kernels, asked["limits"].threads) == (300, 700, (1, 2))
    shown = capsys.readouterr().out
    assert "700 kernels of 30 networks in 1.5 minutes" in shown
    assert "left out: net@1: load: no" in shown


def test_a_model_over_tokens_is_an_option(asked: dict[str, Any], tmp_path: Path) -> None:
    assert run(["profile", "--model", "tokens", "--out", str(tmp_path), "-q"]) == 0
    assert asked["model"] == "tokens"


def test_a_refit_measures_nothing(
    asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted: list[tuple[Path, str]] = []

    def stand_in(folder: Path, model: str) -> SimpleNamespace:
        fitted.append((folder, model))
        return SimpleNamespace(about={"kernels": 700, "networks": 30})

    monkeypatch.setattr(profiling, "refit", stand_in)
    assert run(["profile", "--refit", "--model", "tokens", "--out", str(tmp_path), "-q"]) == 0
    assert (asked, fitted) == ({}, [(tmp_path, "tokens")])
    assert "tokens fitted to 700 kernels of 30 networks" in capsys.readouterr().out


def test_a_refit_without_a_profile_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["profile", "--refit", "--model", "tokens", "--out", str(tmp_path / "none"), "-q"]) == 2
    shown = capsys.readouterr()
    assert "there is no profile to fit to" in shown.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--threads", "0"], ["--threads", "a"], ["--threads", "²"], ["--threads", "1,,2"], ["--threads", "9" * 5000],
        ["--time", "soon"], ["--time", "9" * 400 + "s"], ["--target", "no"], ["--model", "stars"],
    ],
)  # fmt: skip
def test_bad_arguments_are_told_before_anything_runs(
    asked: dict[str, Any], arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["profile", *arguments, "-q"]) == 2
    assert asked == {}
    assert "Traceback" not in capsys.readouterr().err
