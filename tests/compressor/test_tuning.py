"""`--tune`: budgets, refusals before anything slow, and a bundle whose library and manifest tell of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from compiled import needs_tvm, tvm_target
from torch import nn
from tuned import Summed

from compressor import compress
from compressor.devices.tuning import tuning
from compressor.devices.tuning.database import Database, Verdict
from compressor.errors import DeviceError, InputError
from compressor.request import Request
from compressor.targets import load_target
from compressor.targets.tvm import with_runtime
from compressor.tuning import Tuner, Tuning, check_tune, tune_budget


@pytest.mark.parametrize(
    ("text", "trials", "seconds"),
    [("500trials", 500, None), ("1 trial", 1, None), ("20min", None, 1200), ("90 s", None, 90), ("1.5h", None, 5400)],
)
def test_budgets(text: str, trials: float | None, seconds: float | None) -> None:
    budget = tune_budget(text)
    assert budget.trials == (trials or float("inf"))
    assert budget.seconds == (seconds or float("inf"))


@pytest.mark.parametrize("text", ["", "500", "0trials", "-3trials", "20 minutes", "0min", "1e3trials", "٣trials", "∞h"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="500trials or 20min"):
        tune_budget(text)


def refused(**options: Any) -> str:
    request = Request(model="m.pt", **options)
    target = with_runtime(load_target(options.get("target") or "host"), options.get("runtime"))
    with pytest.raises((InputError, DeviceError)) as told:
        check_tune(request, target)
    return str(told.value)


def test_what_cannot_be_tuned_is_refused_at_once() -> None:
    assert "Add --runtime tvm" in refused(tune="5trials")
    needs_tvm()
    assert "500trials or 20min" in refused(tune="many", runtime="tvm")
    told = refused(tune="5trials", runtime="tvm", target="raspberry-pi-5")
    assert "cannot be timed here" in told
    assert "--device" in told
    assert "ssh" in refused(tune="5trials", runtime="tvm", device="ssh://user@board")
    assert "processors alone" in refused(tune="5trials", runtime="tvm", target="jetson-orin-nano")
    check_tune(Request(model="m.pt"), load_target("host"))
    check_tune(Request(model="m.pt", device="ssh://user@board"), load_target("host"))  # artifacts are measured there
    check_tune(Request(model="m.pt", tune="5trials", runtime="tvm"), with_runtime(load_target("host"), "tvm"))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(Summed(24, 40), nn.ReLU(), Summed(40, 6)).eval()


@pytest.fixture(scope="module")
def tuned_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs_tvm()
    pytest.importorskip("xgboost")
    folder = tmp_path_factory.mktemp("tuned")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "judged", accepting)
        outcome = compress(
            network(), "x86-64", inputs=["1x24"], passes="none", runtime="tvm", tune="6trials",
            cache_dir=folder / "cache", out=folder / "out",
        )  # fmt: skip
    assert outcome.bundle is not None
    return outcome.bundle


def accepting(task: Any, default: Any, trials: Any, bench: Any) -> Verdict:
    """The first that was found counts, however fast: which one is faster here is nothing to test."""
    from compressor.devices.tuning.database import digest
    from compressor.export.tuning.tasks import key_of

    among = tuple(digest(trial.trace) for trial in trials)
    return Verdict(key_of(default), among, trials[0].trace, 0.5)


def test_the_bundle_says_what_was_tuned(tuned_bundle: Path) -> None:
    manifest = json.loads((tuned_bundle / "manifest.json").read_text())
    told = manifest["tuning"]
    assert told["budget"] == "6trials"
    assert (told["trials"], told["fresh"]) == (6, 6)
    assert 1 <= told["improved"] <= told["functions"]
    assert told["measured_on"] == "this machine"
    assert 0 < told["ratio"] < 1
    report = json.loads((tuned_bundle / "report.json").read_text())
    assert any("functions improved" in note and "6 trials" in note for note in report["notes"])
    assert " --tune 6trials" in (tuned_bundle / "recipe.toml").read_text()
    assert report["agreement"]["error"] < 1e-5


def test_the_database_is_in_the_folder_that_was_given_and_outlives_its_stages(tuned_bundle: Path) -> None:
    from compressor.cache import Cache, tuning_folder

    folder = tuned_bundle.parent / "cache"
    (file,) = tuning_folder(folder).glob("*.jsonl")
    assert sum(len(each) for each in Database(file).trials.values()) == 6
    Cache(folder).clear()
    assert file.is_file()


def test_the_same_command_again_measures_nothing(tuned_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "judged", lambda *_: pytest.fail("it was judged before"))
    again = compress(
        network(), "x86-64", inputs=["1x24"], passes="none", runtime="tvm", tune="6trials",
        cache_dir=tuned_bundle.parent / "cache", out=tuned_bundle.parent / "again",
    )  # fmt: skip
    assert again.bundle is not None
    old, new = (json.loads((folder / "manifest.json").read_text())["tuning"] for folder in (tuned_bundle, again.bundle))
    assert new["fresh"] == 0
    assert {**new, "fresh": 6, "seconds": 0} == {**old, "seconds": 0}


def test_without_a_cache_nothing_is_kept(tmp_path: Path) -> None:
    from compressor.graph.contract import Progress

    asked = {"model": network(), "tune": "5trials", "runtime": "tvm", "cache_dir": tmp_path}
    tuner = Tuner.asked(Request(**asked, no_cache=True), tvm_target(), 0, Progress())
    assert tuner is not None
    assert tuner.database is None
    kept = Tuner.asked(Request(**asked), tvm_target(), 0, Progress())
    assert kept is not None
    assert kept.database == tmp_path / "tuning"
    assert Tuner.asked(Request(model="m.pt"), tvm_target(), 0, Progress()) is None


def test_what_it_says() -> None:
    said = str(Tuning("20min", 9, 5, 0.5, 400, 100, 120.0, "this machine", {}))
    assert "5 of 9 functions improved, 2.00× as fast" in said
    assert "400 trials, 300 of them known from earlier runs, 2.0 minutes on this machine" in said
    assert "as a whole" in str(Tuning("20min", 9, 0, 1.0, 40, 40, 120.0, "x", {"": "slower as a whole"}))
    assert "nothing was faster" in str(Tuning("20min", 9, 0, 1.0, 40, 40, 120.0, "this machine", {}))
