"""State dicts load with a factory; a pickle that needs code is refused, named, and not run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hostile.archives import Bomb, pickled, plain_pickle
from hostile.models import Net, factory_file
from torch import nn

from compressor.errors import LoadError, UntrustedError
from compressor.load.model import load_model
from compressor.userfile import load_function


@pytest.fixture
def factory(tmp_path: Path) -> str:
    return f"{factory_file(tmp_path)}:build"


@pytest.mark.parametrize("zipped", [True, False])
def test_state_dict(factory: str, tmp_path: Path, zipped: bool) -> None:
    original = load_function(factory, "--model")().eval()
    thing = {"state_dict": original.state_dict(), "epoch": 3}
    torch.save(thing, tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
    loaded = load_model(tmp_path / "m.pt", factory=factory)
    x = torch.randn(2, 1, 8, 8)
    assert loaded.module is not None
    assert (loaded.name, loaded.kind, loaded.module.training) == ("m", "state dict", False)
    assert torch.equal(loaded.module(x), original(x))


def test_state_dict_without_a_factory(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "m.pt")
    with pytest.raises(LoadError, match="--model"):
        load_model(tmp_path / "m.pt")


def test_wrong_factory(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 3).state_dict(), tmp_path / "m.pt")
    with pytest.raises(LoadError, match="do not fit the model"):
        load_model(tmp_path / "m.pt", factory=f"{factory_file(tmp_path)}:other")


@pytest.mark.parametrize("make", [pickled, plain_pickle])
@pytest.mark.parametrize("with_factory", [False, True])
def test_hostile_pickle(make: object, with_factory: bool, factory: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (tmp_path / "m.pt").write_bytes(make({"weight": torch.ones(2), "x": Bomb(canary)}))  # type: ignore[operator]
    with pytest.raises(UntrustedError) as caught:
        load_model(tmp_path / "m.pt", factory=factory if with_factory else None)
    assert not canary.exists()
    assert "--trust" in str(caught.value)
    with pytest.raises(LoadError):
        load_model(tmp_path / "m.pt", trust=True)
    assert canary.exists()


def test_refusal_names_what_would_be_called(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(pickled(Bomb(tmp_path / "canary")))
    with pytest.raises(UntrustedError, match=r"posix\.system|nt\.system"):
        load_model(tmp_path / "m.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_whole_module_only_with_trust(tmp_path: Path, zipped: bool) -> None:
    torch.save(Net(), tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UntrustedError, match="--trust"):
        load_model(tmp_path / "m.pt")
    loaded = load_model(tmp_path / "m.pt", trust=True)
    assert isinstance(loaded.module, Net)
    assert not loaded.module.training


def test_module_whose_code_is_missing(tmp_path: Path) -> None:
    torch.save(Net(), tmp_path / "m.pt", _use_new_zipfile_serialization=False)
    content = (tmp_path / "m.pt").read_bytes().replace(b"hostile.models", b"hostile.modelx")
    (tmp_path / "m.pt").write_bytes(content)
    with pytest.raises(LoadError, match="needs code that is not here"):
        load_model(tmp_path / "m.pt", trust=True)


@pytest.mark.parametrize("thing", [[1, 2], {"epoch": 3}, torch.ones(3), {}])
def test_file_without_a_model(thing: object, tmp_path: Path) -> None:
    torch.save(thing, tmp_path / "m.pt")
    with pytest.raises(LoadError, match="not a model or state dict"):
        load_model(tmp_path / "m.pt")


def test_nan_weights_are_named(factory: str, tmp_path: Path) -> None:
    module = load_function(factory, "--model")()
    with torch.no_grad():
        module[0].weight[0] = float("nan")
    torch.save(module.state_dict(), tmp_path / "m.pt")
    with pytest.raises(LoadError, match=r"0\.weight"):
        load_model(tmp_path / "m.pt", factory=factory)


def test_truncated_checkpoint(factory: str, tmp_path: Path) -> None:
    for zipped in (True, False):
        torch.save(nn.Linear(8, 8).state_dict(), tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
        content = (tmp_path / "m.pt").read_bytes()
        for cut in (1, 5, len(content) // 2, len(content) - 1):
            (tmp_path / "m.pt").write_bytes(content[:cut])
            with pytest.raises(LoadError):
                load_model(tmp_path / "m.pt", factory=factory)


def test_code_beside_a_trusted_pickle_is_found(tmp_path: Path) -> None:
    (tmp_path / "net_beside_it.py").write_text(
        "from torch import nn\nclass Net(nn.Linear):\n    def __init__(self):\n        super().__init__(4, 3)\n"
    )
    program = "import torch, net_beside_it; torch.save(net_beside_it.Net(), 'whole.pt')"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    loaded = load_model(tmp_path / "whole.pt", trust=True)
    assert type(loaded.module).__name__ == "Net"
    assert str(tmp_path) not in sys.path
