"""Metrics by name, what they default to, and how far they may fall."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor.data import Dataset, load_data
from compressor.errors import InputError
from compressor.graph.capture import capture
from compressor.graph.program import Program
from compressor.metrics import Metric, load_metric, parse_drop

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    return capture(nn.Linear(4, 3), (torch.randn(2, 4),)).program


@pytest.fixture(scope="module")
def dataset(program: Program) -> Dataset:
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    return load_data({"input": x, "labels": program.run((x,))["output"].argmax(1)}, program.inputs)


def unlabelled(dataset: Dataset) -> Dataset:
    return Dataset(dataset.calibration, dataset.evaluation)


def test_default_is_accuracy_where_labels_fit_and_cosine_elsewhere(program: Program, dataset: Dataset) -> None:
    metric = load_metric(None, dataset, program)
    assert (metric.name, metric.higher_is_better) == ("accuracy", True)
    assert metric.evaluate(program.run, dataset, program.run) == 1.0
    metric = load_metric(None, unlabelled(dataset), program)
    assert metric.name == "cosine"
    assert metric.evaluate(program.run, dataset, program.run) == pytest.approx(1)
    assert load_metric(None, None, program).name == "cosine"
    floats = Dataset([], dataset.evaluation, [torch.randn(30, 3)])
    assert load_metric(None, floats, program).name == "cosine"


def test_digits_example_scores_what_was_recorded() -> None:
    import json

    from compressor.graph.capture import from_exported

    program = from_exported(torch.export.load(DIGITS / "model.pt"))
    dataset = load_data(DIGITS / "data.npz", program.inputs)
    recorded = json.loads((DIGITS / "results.json").read_text())["accuracy"]
    assert load_metric(None, dataset, program).evaluate(program.run, dataset) == pytest.approx(recorded, abs=1 / 540)


def test_unknown_and_unfit_metrics(program: Program, dataset: Dataset) -> None:
    with pytest.raises(InputError, match="unknown metric 'acuracy'") as caught:
        load_metric("acuracy", dataset, program)
    assert "Did you mean accuracy?" in caught.value.way_out
    with pytest.raises(InputError, match="needs labels"):
        load_metric("accuracy", unlabelled(dataset), program)
    with pytest.raises(InputError, match="labels reach 3"):
        load_metric(None, Dataset([], dataset.evaluation, [torch.full((30,), 3)]), program)
    with pytest.raises(InputError, match="fit no output"):
        load_metric("accuracy", Dataset([], dataset.evaluation, [torch.zeros(30, 2, dtype=torch.int64)]), program)
    with pytest.raises(InputError, match="perplexity needs an output"):
        load_metric("perplexity", dataset, program)


def test_functions(program: Program, dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(
        "def error(outputs, labels):\n"
        "    return (outputs.argmax(1) != labels).float().mean()\n"
        "error.lower_is_better = True\n"
        "def bad(outputs, labels):\n"
        "    return outputs\n"
    )
    metric = load_metric(f"{tmp_path / 'm.py'}:error", dataset, program)
    assert (metric.name, metric.higher_is_better) == ("error", False)
    assert metric.evaluate(program.run, dataset) == 0.0
    with pytest.raises(InputError, match="the metric failed"):
        load_metric(f"{tmp_path / 'm.py'}:bad", dataset, program).evaluate(program.run, dataset)

    def count(outputs: Tensor, labels: Tensor) -> int:
        return len(outputs) + len(labels)

    assert load_metric(count, dataset, program).evaluate(program.run, dataset) == 60


def scored(name: str, higher: bool, scale: float | None = None) -> Metric:
    return Metric(name, higher, lambda run, dataset, reference: 0.0, scale)


@pytest.mark.parametrize(
    ("text", "higher", "before", "after", "exceeded"),
    [
        ("1%", True, 0.5, 0.4951, False),
        ("1%", True, 0.5, 0.495, False),
        ("1%", True, 0.5, 0.4949, True),
        ("1pt", True, 0.5, 0.49, False),
        ("1pt", True, 0.5, 0.489, True),
        ("0.5%", False, 20.0, 20.1, False),
        ("0.5%", False, 20.0, 20.2, True),
        (".5%", False, 20.0, 10.0, False),
        ("0%", True, 0.9, 0.9, False),
        ("0%", True, 0.9, 0.8, True),
        ("100%", True, 0.9, math.nan, True),
        ("1%", False, 20.0, math.inf, True),
        ("1%", True, 0.0, 0.0, False),
        ("1%", True, 0.0, -0.1, True),
        ("1%", True, -0.5, -0.6, True),
        ("1%", True, -0.5, -0.4, False),
    ],
)
def test_drop(text: str, higher: bool, before: float, after: float, exceeded: bool) -> None:
    assert parse_drop(text).exceeded(scored("m", higher), before, after) is exceeded


@pytest.mark.parametrize("text", ["1", "", "-1%", "one%", "1 percent", "1%%", "1pts", "nan%"])
def test_drop_text_is_checked(text: str) -> None:
    with pytest.raises(InputError, match="is not a drop"):
        parse_drop(text)


def test_squared_error_falls_relative_to_the_outputs(program: Program, dataset: Dataset) -> None:
    metric = load_metric("mse", dataset, program)

    def noisy(share: float) -> Any:
        generator = torch.Generator().manual_seed(0)

        def run(batch: Any) -> dict[str, Tensor]:
            out = program.run(batch)["output"]
            return {"output": out + torch.randn(out.shape, generator=generator) * out.std() * math.sqrt(share)}

        return run

    before = metric.evaluate(program.run, dataset, program.run)
    assert before == 0
    assert not parse_drop("1%").exceeded(metric, before, metric.evaluate(noisy(0.003), dataset, program.run))
    assert parse_drop("1%").exceeded(metric, before, metric.evaluate(noisy(0.05), dataset, program.run))
    assert np.isfinite(metric.drop(before, 0.1))
