"""Untrusted TorchScript is converted in a process that cannot run on, grow without bound, or write files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hostile.archives import rewrite
from scripted import scripted
from torch import Tensor, nn

from compressor.errors import CaptureError, LoadError
from compressor.load.convert import to_program
from compressor.load.isolated import Limits, run_isolated
from compressor.load.model import load_model

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.(script|save).*:DeprecationWarning")


class Honest(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.linear(x))


class RunsOnLoading(nn.Module):
    """Its `__setstate__` runs when the file is loaded: it loops for ever, or allocates a terabyte."""

    def __init__(self, mode: int) -> None:
        super().__init__()
        self.mode = mode

    @torch.jit.export
    def __getstate__(self) -> tuple[int, bool]:
        return self.mode, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[int, bool]) -> None:
        self.mode = state[0]
        self.training = state[1]
        if self.mode == 1:
            count = 0
            while count >= 0:
                count = (count + 1) % 7
        if self.mode == 2:
            self.mode = int(torch.ones([1 << 40]).sum())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mode


def saved(model: nn.Module, path: Path) -> Path:
    torch.jit.save(scripted(model.eval()), path)
    return path


def test_honest_file_converts_as_it_does_when_trusted(tmp_path: Path) -> None:
    path, x = saved(Honest(), tmp_path / "m.pt"), torch.randn(2, 4)
    programs = [to_program(load_model(path, trust=trust), (x,), synthetic=True).program for trust in (False, True)]
    assert programs[0].hash() == programs[1].hash()
    assert programs[0].synthetic
    assert [path.name for path in tmp_path.iterdir()] == ["m.pt"]


def test_endless_loop_is_stopped(tmp_path: Path) -> None:
    path = saved(RunsOnLoading(0), tmp_path / "m.pt")
    path = rewrite(path, tmp_path / "loop.pt", _mode(1))
    with pytest.raises(LoadError, match="limits") as caught:
        run_isolated(path, (torch.zeros(2, 4),), {}, synthetic=True, limits=Limits(cpu_seconds=1, wall_seconds=300))
    assert "--trust" in caught.value.way_out


def test_terabyte_is_refused(tmp_path: Path) -> None:
    path = rewrite(saved(RunsOnLoading(0), tmp_path / "m.pt"), tmp_path / "large.pt", _mode(2))
    with pytest.raises(LoadError):
        run_isolated(path, (torch.zeros(2, 4),), {}, synthetic=True)


def _mode(mode: int):  # type: ignore[no-untyped-def]
    """Change the number in the pickled state; the code is that of `RunsOnLoading`."""

    def change(name: str, content: bytes) -> bytes:
        return content.replace(b"K\x00\x89", bytes((0x4B, mode, 0x89))) if name == "data.pkl" else content

    return change


def test_error_of_the_child_arrives_as_itself(tmp_path: Path) -> None:
    class Loop(nn.Module):
        def forward(self, x: Tensor, steps: int = 3) -> Tensor:
            for _ in range(steps):
                x = torch.tanh(x)
            return x

    with pytest.raises(CaptureError, match="prim::Loop"):
        to_program(load_model(saved(Loop(), tmp_path / "m.pt")), (torch.zeros(2, 4),), synthetic=True)
