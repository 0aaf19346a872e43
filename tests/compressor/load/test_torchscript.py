"""TorchScript is recognized without running it; code that opens files is refused before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hostile.archives import rewrite
from hostile.models import Net

from compressor.errors import LoadError, UntrustedError
from compressor.load.convert import to_program
from compressor.load.model import load_model

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.(trace|save).*:DeprecationWarning")


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("script") / "model.pt"
    torch.jit.save(torch.jit.trace(Net().eval(), torch.randn(2, 4)), path)
    return path


def test_trusted_file_is_converted_here(honest: Path) -> None:
    loaded = load_model(honest, trust=True)
    assert (loaded.name, loaded.kind, loaded.module, loaded.program) == ("model", "TorchScript", None, None)
    program = to_program(loaded, (torch.randn(2, 4),), synthetic=False).program
    assert [(spec.name, spec.shape) for spec in program.inputs] == [("x", ("batch", 4))]
    assert {name for name, _ in program.module.named_parameters()} == {"linear.weight", "linear.bias"}


@pytest.mark.parametrize("call", ["torch.save(x, 'canary')", "ops.aten.save(x, 'canary')", "torch.from_file('canary')"])
def test_code_that_opens_files(call: str, honest: Path, tmp_path: Path) -> None:
    def change(name: str, content: bytes) -> bytes:
        return content.replace(b"return", call.encode() + b"\n    return") if name.endswith(".py") else content

    with pytest.raises(UntrustedError, match="opens files"):
        load_model(rewrite(honest, tmp_path / "evil.pt", change))


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    model = Net().eval()
    with torch.no_grad():
        model.linear.bias[0] = float("inf")
    torch.jit.save(torch.jit.trace(model, torch.randn(2, 4)), tmp_path / "m.pt")
    with pytest.raises(LoadError, match=r"linear\.bias"):
        to_program(load_model(tmp_path / "m.pt", trust=True), (torch.randn(2, 4),), synthetic=True)
