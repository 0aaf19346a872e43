"""The main job end to end on the bundled example, from the command line and from Python."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from blocks import Layer, Stack
from emulation import emulated_root
from measured import given
from own_device import OwnDevice

import compressor
from compressor.cli.main import run
from compressor.devices import bench
from compressor.devices.device import Description
from compressor.devices.latency.history import history_file
from compressor.errors import DeviceLostError, InputError, OutputError
from compressor.judging import Workshop
from compressor.tuning import Tuner
from compressor.userfile import load_function


@pytest.fixture(scope="module")
def report(digits_bundle: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((digits_bundle / "report.json").read_text())
    return found


def test_the_bundle_is_whole(digits_bundle: Path) -> None:
    names = {path.name for path in digits_bundle.iterdir()}
    assert names == {
        "model.onnx", "model.ort", "model.required_operators.config", "manifest.json", "golden.npz", "recipe.toml",
        "report.json", "report.html",
    }  # fmt: skip
    assert run(["verify", str(digits_bundle)]) == 0


def test_the_report_has_both_sides_of_everything(report: dict[str, dict[str, dict[str, object]]]) -> None:
    for side in ("before", "after"):
        assert set(report[side]["latency_ms"]) == {"predicted", "measured", "interval"}
        assert report[side]["latency_ms"]["measured"] is None  # a browser is not this machine
    assert report["after"]["file_bytes"] < 0.35 * report["before"]["file_bytes"]  # type: ignore[operator]
    assert report["after"]["metric"] >= report["before"]["metric"] - 0.01  # type: ignore[operator]
    assert report["synthetic"] is False


def test_the_manifest_names_inputs_and_outputs(digits_bundle: Path) -> None:
    manifest = json.loads((digits_bundle / "manifest.json").read_text())
    assert manifest["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["batch", 1, 8, 8]}]
    assert [output["shape"] for output in manifest["outputs"]] == [["batch", 10]]
    golden = np.load(digits_bundle / "golden.npz")
    assert set(golden) == {"x", "output", "original/output"}


def test_the_recipe_runs_exactly_this_again_on_the_same_data(
    digits: Path, digits_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Weights were rounded by what layers read on the data, so it is asked for."""
    recipe, again = str(digits_bundle / "recipe.toml"), tmp_path / "again"
    call = [str(digits / "model.pt"), "--recipe", recipe, "--out", str(again), "--max-drop", "100%", "-q"]
    assert run(call) == 2
    assert "there is no calibration data" in capfd.readouterr().err
    assert run([*call, "--data", str(digits / "data.npz")]) == 0
    assert (again / "model.onnx").read_bytes() == (digits_bundle / "model.onnx").read_bytes()


def test_a_recipe_splits_the_data_as_they_were_when_a_pass_only_learned_what_to_do(tmp_path: Path) -> None:
    """The gates are not learned again: nothing trains, and yet what comes after sees the same samples."""
    torch.manual_seed(0)
    net = Stack([Layer(8) for _ in range(3)], 8).eval()
    np.savez(tmp_path / "data.npz", x=torch.randn(40, 6, 5).numpy())
    common = {"data": str(tmp_path / "data.npz"), "max_drop": "100%", "no_cache": True, "out": tmp_path / "first"}
    passes = "drop=0.4:by=gates:steps=2:heal=none,factorize=0.4:slower=true"
    compressor.compress(net, "x86-64", passes=passes, **common)
    recipe = tmp_path / "first" / "recipe.toml"
    assert 'split = "training"' in recipe.read_text()
    compressor.compress(net, recipe=recipe, **{**common, "out": tmp_path / "again"})
    assert (tmp_path / "again" / "model.onnx").read_bytes() == (tmp_path / "first" / "model.onnx").read_bytes()


def test_a_recipe_of_nearest_rounding_runs_exactly_this_again_without_data(digits: Path, tmp_path: Path) -> None:
    model, first, again = str(digits / "model.pt"), tmp_path / "first", tmp_path / "again"
    passes = "fold,int8:solver=nearest:bias=none:equalize=none"
    common = ["--target", "web-wasm", "--max-drop", "100%", "-q", "--no-cache"]
    data = ["--data", str(digits / "data.npz")]
    assert run([model, *data, "--passes", passes, *common, "--out", str(first)]) == 0
    recipe = str(first / "recipe.toml")  # ranges included; on made-up inputs the metric means nothing
    assert run([model, "--recipe", recipe, "--out", str(again), "--max-drop", "100%", "-q"]) == 0
    assert (again / "model.onnx").read_bytes() == (first / "model.onnx").read_bytes()


def test_a_recipe_remembers_what_was_kept(digits: Path, tmp_path: Path) -> None:
    model, data = (
        str(digits / "model.pt"),
        ["--data", str(digits / "data.npz"), "--max-drop", "100%", "-q", "--no-cache"],
    )
    passes = ["--target", "web-wasm", "--passes", "prune=0.5,recover=3steps", "--keep", "stem*"]
    assert run([model, *data, *passes, "--out", str(tmp_path / "a")]) == 0
    recipe = ["--recipe", str(tmp_path / "a" / "recipe.toml")]
    assert run([model, *data, *recipe, "--out", str(tmp_path / "b")]) == 0
    assert (tmp_path / "a" / "model.onnx").read_bytes() == (tmp_path / "b" / "model.onnx").read_bytes()


def test_a_recipe_that_was_taught_asks_for_its_teacher(
    digits: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    student, teacher = tmp_path / "student.pt2", ["--teacher", str(digits / "model.pt")]
    torch.manual_seed(0)
    small = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()
    batch = torch.export.Dim("batch")
    torch.export.save(torch.export.export(small, (torch.zeros(2, 1, 8, 8),), dynamic_shapes=({0: batch},)), student)
    data = ["--data", str(digits / "data.npz"), "--max-drop", "100%", "-q", "--no-cache"]
    passes = ["--target", "web-wasm", "--passes", "fold", "--recover", "20steps"]
    assert run([str(student), *data, *passes, *teacher, "--out", str(tmp_path / "a")]) == 0
    recipe = ["--recipe", str(tmp_path / "a" / "recipe.toml")]
    assert run([str(student), *data, *recipe, "--out", str(tmp_path / "b")]) == 2
    assert "--teacher" in capfd.readouterr().err
    assert run([str(student), *data, *recipe, *teacher, "--out", str(tmp_path / "c")]) == 0
    assert (tmp_path / "a" / "model.onnx").read_bytes() == (tmp_path / "c" / "model.onnx").read_bytes()


def test_python_gives_the_same_as_the_command_line(digits: Path, digits_bundle: Path, tmp_path: Path) -> None:
    module = load_function(f"{digits / 'model.py'}:build", "--model")()
    module.load_state_dict(torch.load(digits / "state_dict.pt", weights_only=True))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    folders = {"out": str(tmp_path / "api"), "cache_dir": str(tmp_path / "cache")}  # as text, as other folders may be
    outcome = compressor.compress(module, target="web-wasm", data=digits / "data.npz", **folders)
    assert outcome.exit_code == 0
    assert outcome.bundle == tmp_path / "api"
    said = json.loads((digits_bundle / "report.json").read_text())
    assert outcome.report.after.metric == pytest.approx(said["after"]["metric"])
    assert outcome.report.after.unique_bytes == said["after"]["unique_bytes"]
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_a_fallen_metric_keeps_the_original_and_saves_what_was_rejected(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "kept"
    arguments = [str(digits / "model.pt"), "--data", str(digits / "data.npz"), "--target", "web-wasm", "-q"]
    # cosine of int8 against float is below 1, so no fall at all is too little
    assert run([*arguments, "--metric", "cosine", "--max-drop", "0%", "--out", str(out), "--passes", "int8"]) == 3
    report = json.loads((out / "report.json").read_text())
    assert report["verdict"]["outcome"] == "original-kept"
    assert "--max-drop" in report["passes"][0]["reverted"]
    assert (out / "rejected" / "model.onnx").is_file()
    assert report["after"]["unique_bytes"] == report["before"]["unique_bytes"]
    assert run(["verify", str(out)]) == 0


@pytest.mark.usefixtures("weighed_once")
def test_a_missed_budget_saves_the_closest_and_says_by_how_much(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "tight"
    arguments = [str(digits / "model.pt"), "--data", str(digits / "data.npz"), "--target", "raspberry-pi-5", "-q"]
    assert run([*arguments, "--size", "1kB", "--recover", "none", "--out", str(out)]) == 3
    report = json.loads((out / "report.json").read_text())
    assert "size budget 1kB missed" in report["verdict"]["reason"]
    assert report["after"]["file_bytes"] < report["before"]["file_bytes"]


def test_json_is_one_object_on_stdout(digits: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    arguments = [str(digits / "model.pt"), "--target", "web-wasm", "--dry-run", "--json"]
    assert run(arguments) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["bundle"] is None
    assert found["synthetic"] is True
    assert found["passes"][0]["changed"]


def test_an_existing_folder_is_refused_before_anything_slow(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="--force"):
        compressor.compress(digits / "model.pt", target="web-wasm", out=tmp_path)


def test_unknown_options_are_refused(digits: Path) -> None:
    with pytest.raises(InputError, match="Did you mean max_drop"):
        compressor.compress(digits / "model.pt", target="jetson", maxdrop="1%")


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["nothing.pt", "--target", "jetson"], 2, "nothing.pt"),
        (["{model}"], 2, "--target"),
        (["{model}", "--target", "jetsno"], 2, "Did you mean jetson"),
        (["{model}", "--target", "jetson", "--passes", "fodl"], 2, "Did you mean fold"),
        (["{model}", "--target", "jetson", "--recipe", "none.toml"], 2, "none.toml"),
        (["{model}", "--target", "jetson", "--train", "x.py:fn"], 2, "no pass runs it"),
        (["{model}", "--target", "jetson", "--max-drop", "little"], 2, "--max-drop"),
        (["{model}", "--target", "jetson", "--size", "small"], 2, "--size"),
        (["{model}", "--target", "jetson", "--input", "1x2"], 2, "input"),
        (["{model}", "--target", "jetson", "--data", "none.npz"], 2, "none.npz"),
        (["{model}", "--target", "jetson", "--metric", "acuracy"], 2, "accuracy"),
        (["{model}", "--target", "jetson", "--out", "no/such/folder"], 2, "parent folder"),
    ],
)
def test_what_the_user_can_mend_exits_with_2_and_writes_nothing(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    arguments: list[str], code: int, part: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run([argument.format(model=digits / "model.pt") for argument in arguments]) == code
    message = capfd.readouterr().err
    assert part in message
    assert "Traceback" not in message
    assert list(tmp_path.iterdir()) == []


def _on_board(digits: Path, out: Path, *more: str) -> list[str]:
    given = [str(digits / "model.pt"), "--data", str(digits / "data.npz"), "--target", "x86-64", "--device", "local"]
    return [*given, "--threads", "1", "--out", str(out), *more]


def test_what_was_measured_on_a_board_is_told_and_remembered(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPRESS_CONFIG", str(tmp_path / "config"))
    given(monkeypatch, OwnDevice(url="local"))
    monkeypatch.setattr(bench, "unsteadiness", lambda *_: [])  # three runs do vary
    assert run(_on_board(digits, tmp_path / "out", "-q", "--passes", "fold")) == 0
    manifest, report = (json.loads((tmp_path / "out" / name).read_text()) for name in ("manifest.json", "report.json"))
    told = manifest["measured"]
    assert (told["device"], told["where"], told["threads"]) == ("local", "local (test)", 1)
    assert report["measured_on"] == "local (test)"
    for side, name in (("before", "original_latency_ms"), ("after", "latency_ms")):
        assert report[side]["latency_ms"]["measured"] == told[name] > 0
    assert any("on local (test)" in note and "predicted" in note for note in report["notes"])
    lines = [json.loads(line) for line in history_file().read_text().splitlines()]
    assert [(line["target"], line["device"], line["measured_ms"]) for line in lines] == [
        ("x86-64", "local", told["original_latency_ms"]), ("x86-64", "local", told["latency_ms"])
    ]  # fmt: skip


def test_a_board_that_breaks_off_leaves_what_is_known(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reached, and measures the original; then it is lost for good."""
    devices = iter([OwnDevice(), OwnDevice()])
    given(monkeypatch, lambda: next(devices, OwnDevice(lost_after=0)))
    assert run(_on_board(digits, tmp_path / "out", "-q")) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["after"]["latency_ms"]["measured"] is None
    assert report["after"]["latency_ms"]["predicted"] > 0
    [note] = [note for note in report["notes"] if "stopped answering" in note]
    assert "what came after is predicted" in note
    assert report["measured_on"] == ""
    assert (tmp_path / "out" / "model.onnx").is_file()


def test_a_board_that_is_not_there_is_told_before_the_model_is_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.pt").write_text("not read")
    arguments = [str(tmp_path / "model.pt"), "--target", "x86-64", "--out", str(tmp_path / "out")]
    assert run([*arguments, "--device", "ssh://127.0.0.1:1"]) in (1, 2)
    told = capfd.readouterr().err
    assert "ssh://127.0.0.1:1" in told
    assert "no model" not in told
    assert not (tmp_path / "out").exists()


def test_a_board_that_cannot_run_the_original_is_told_before_anything_slow(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    device = OwnDevice()
    given(monkeypatch, device)
    monkeypatch.setattr(OwnDevice, "describe", lambda self: Description("Linux", "aarch64", "A76", 4, 0, "3.11"))
    assert run(_on_board(digits, tmp_path / "out")) == 2
    assert "it is aarch64, and x86-64 is x86_64" in capfd.readouterr().err
    assert device.tasks == []


def test_a_board_that_is_lost_while_tuning_leaves_what_was_chosen(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise DeviceLostError("it stopped answering", where="rpc://board")

    monkeypatch.setattr(Tuner, "asked", lambda *_: object())
    monkeypatch.setattr(Workshop, "tuned", lost)
    out = tmp_path / "out"
    arguments = [str(digits / "model.pt"), "--target", "web-wasm", "--passes", "none", "-q", "--out", str(out)]
    assert run(arguments) == 0
    notes = json.loads((out / "report.json").read_text())["notes"]
    assert any("not tuned: rpc://board: it stopped answering" in note for note in notes)


@pytest.mark.emulated
def test_an_emulated_board_checks_and_counts(
    digits: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    emulated_root(tmp_path_factory)
    arguments = [str(digits / "model.pt"), "--data", str(digits / "data.npz"), "--target", "raspberry-pi-5", "-q"]
    out = tmp_path / "out"
    assert run([*arguments, "--device", "qemu://cortex-a76", "--passes", "fold,int8", "--out", str(out)]) == 0
    report = json.loads((out / "report.json").read_text())
    [note] = [note for note in report["notes"] if "qemu://cortex-a76" in note]
    assert "golden vectors agree" in note
    assert "it is emulated, and tells no time" in note
    assert report["after"]["latency_ms"]["measured"] is None
