"""A model and its feed: what fails is told by kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compressor.devices.runner.model import JobError, Model, golden_errors


def job(bundle: Path, **changes: Any) -> dict[str, Any]:
    golden = {"npz": "golden.npz", "inputs": ["x"], "outputs": ["output"], "ties": 0.05}
    return {"model": "model.onnx", "inputs": {"x": {"npz": "golden.npz", "batch": 1}}, "golden": golden, **changes}


def test_it_runs_on_what_it_is_fed(digits_bundle: Path) -> None:
    model = Model(job(digits_bundle), str(digits_bundle))
    [output] = model.run()
    with np.load(digits_bundle / "golden.npz") as golden:
        assert output.shape == golden["output"][:1].shape
        assert np.abs(output - golden["output"][:1]).max() < 0.5
    assert model.load_seconds > 0


def test_a_provider_that_is_not_there_is_left_out(digits_bundle: Path) -> None:
    model = Model(job(digits_bundle, providers=["TensorrtExecutionProvider"]), str(digits_bundle))
    assert model.providers == ["CPUExecutionProvider"]


def test_golden_errors_by_output(digits_bundle: Path) -> None:
    [error] = golden_errors(job(digits_bundle), str(digits_bundle)).values()
    assert 0 <= error < 0.02


def test_a_configuration_that_does_not_load_is_followed_by_the_next(
    digits_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compressor.devices.runner import model

    given: list[dict[str, str]] = []
    opened = model._session

    def refusing(job: Any, folder: str, config: dict[str, str]) -> Any:
        given.append(config)
        if "exact" in config:
            raise JobError("load", "not with this")
        return opened(job, folder, config)

    monkeypatch.setattr(model, "_session", refusing)
    job_ = job(digits_bundle)
    job_["golden"]["configs"] = [{"exact": "1"}, {}]
    assert golden_errors(job_, str(digits_bundle))
    assert given == [{"exact": "1"}, {}]
    job_["golden"]["configs"] = [{"exact": "1"}]
    with pytest.raises(JobError, match="not with this"):
        golden_errors(job_, str(digits_bundle))


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"model": "golden.npz"}, "load"),
        ({"model": "absent.onnx"}, "load"),
        ({"inputs": {"x": {"npz": "absent.npz"}}}, "inputs"),
        ({"inputs": {"x": {"npz": "golden.npz", "key": "absent"}}}, "inputs"),
        ({"inputs": {"x": {"shape": [1], "dtype": "nonsense"}}}, "inputs"),
        ({"inputs": {"x": {"shape": [1, 1, 3, 3]}}}, "run"),
        ({"inputs": {}}, "run"),
    ],
    ids=str,
)
def test_what_fails_is_told_by_kind_in_one_line(digits_bundle: Path, changes: dict[str, Any], kind: str) -> None:
    with pytest.raises(JobError) as told:
        Model(job(digits_bundle, **changes), str(digits_bundle)).first()
    assert told.value.kind == kind
    assert told.value.reason
    assert "\n" not in told.value.reason
    assert str(digits_bundle) not in told.value.reason or kind == "inputs"


def test_operators_of_its_own_are_loaded_where_the_job_names_them(operators_bundle: Path) -> None:
    given = {"model": "model.onnx", "inputs": {"input": {"npz": "golden.npz"}}}
    golden = {"npz": "golden.npz", "inputs": ["input"], "outputs": ["output"]}
    with pytest.raises(JobError, match="not a registered") as caught:
        Model(given, str(operators_bundle))
    assert caught.value.kind == "load"
    [error] = golden_errors({**given, "golden": golden, "operators": "model_ops.so"}, str(operators_bundle)).values()
    assert 0 <= error < 1e-5
    with pytest.raises(JobError) as caught:
        Model({**given, "operators": "golden.npz"}, str(operators_bundle))
    assert caught.value.kind == "load"
