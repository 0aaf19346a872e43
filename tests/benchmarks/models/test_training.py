"""Training scripts stop at their budget, go on from a checkpoint to the same result, and parse what they are told."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))
from models import training
from models.training import Averaged, Muon, Run, half, one_cycle, optimizers, orthogonal, replace, seconds


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.GELU(), nn.Linear(16, 8))
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(x))


def trained(steps: int, budgets: list[float | None]) -> dict[str, torch.Tensor]:
    """`steps` of training, by as many processes as there are budgets."""
    for budget in budgets:
        torch.manual_seed(0)
        net = Net()
        run = Run("net", net, Averaged(net, 0.9), optimizers(net, 1e-2, 0.05), {"steps": steps})
        while run.goes_on(steps, budget):
            x = torch.randn(32, 8, generator=torch.Generator().manual_seed(run.step))
            run.update(nn.functional.cross_entropy(net(x), x[:, :4].argmax(1)), one_cycle(run.step / steps))
            if budget is not None and run.step == steps // 2:
                run.save()  # as the clock would have it
                break
    return run.averaged.state


def test_a_resumed_run_ends_like_one_that_was_not_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "FOLDER", tmp_path)
    stopped = trained(250, [60.0, None])
    (tmp_path / "net.checkpoint").unlink()
    whole = trained(250, [None])
    assert all(torch.equal(stopped[name], whole[name]) for name in whole)


def test_a_spent_budget_leaves_a_checkpoint_of_that_run_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "FOLDER", tmp_path)
    net = Net()
    run = Run("net", net, Averaged(net, 0.9), [Muon([net.blocks[0].weight], 0.1, 0.0)], {"seed": 0})
    assert run.goes_on(10, None)
    assert not run.goes_on(10, 0.0)
    assert (tmp_path / "net.checkpoint").exists()
    with pytest.raises(SystemExit, match="other settings"):
        Run("net", net, Averaged(net, 0.9), [], {"seed": 1})


def test_muon_steps_are_nearly_orthogonal() -> None:
    for shape in ((24, 8), (8, 24), (16, 16)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape, generator=torch.Generator().manual_seed(0))))
        assert 0.3 < values.min() <= values.max() < 1.3


def test_times_and_files(tmp_path: Path) -> None:
    assert [seconds(given) for given in ("90", "90s", "20min", "1.5h")] == [90, 90, 1200, 5400]
    with pytest.raises(ValueError, match="is no time"):
        seconds("soon")
    replace(tmp_path / "a.json", {"loss": [[100, 1.5], [200, 1.25]], "note": "a, b"})
    assert "[100, 1.5]" in (tmp_path / "a.json").read_text()
    assert json.loads((tmp_path / "a.json").read_text())["loss"][1] == [200, 1.25]
    state = half({"a": torch.ones(2), "n": torch.tensor(3)})
    assert (state["a"].dtype, state["n"].dtype) == (torch.float16, torch.int64)
