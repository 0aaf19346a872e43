"""A loaded model becomes a program with given inputs, or with the file's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from decoders import Windowed
from hostile.archives import small_pt2
from hostile.models import Net

from compressor.errors import InputError
from compressor.graph.capture import capture
from compressor.graph.kv_cache import cache_of
from compressor.load.convert import to_program
from compressor.load.loaded import Loaded
from compressor.load.model import load_model


def test_module_is_captured() -> None:
    loaded = Loaded("net", "module", module=Net().eval())
    program = to_program(loaded, (torch.randn(2, 4),), synthetic=True).program
    assert program.synthetic
    assert program.inputs[0].shape == ("batch", 4)


def test_example_of_the_file_is_used() -> None:
    loaded = Loaded("net", "module", module=Net().eval(), example=((), {"x": torch.ones(2, 4)}))
    assert torch.equal(to_program(loaded, synthetic=False).program.example[0], torch.ones(2, 4))


def test_captured_program_takes_another_example(tmp_path: Path) -> None:
    loaded = load_model(small_pt2(tmp_path / "m.pt2"))
    assert to_program(loaded, synthetic=False).program is loaded.program
    for args, kwargs in (((torch.ones(1, 4),), {}), ((), {"x": torch.ones(1, 4)})):
        program = to_program(loaded, args, kwargs, synthetic=True).program
        assert program.synthetic
        assert program.example[0].shape == (2, 4)  # a batch of one would fix the batch
        assert program.export() is not None


def test_example_that_does_not_fit(tmp_path: Path) -> None:
    loaded = load_model(small_pt2(tmp_path / "m.pt2"))
    with pytest.raises(InputError, match="shape"):
        to_program(loaded, (torch.ones(2, 5),), synthetic=True)
    with pytest.raises(InputError, match="got 2 inputs, the model takes 1: x"):
        to_program(loaded, (torch.ones(2, 4), torch.ones(2, 4)), synthetic=True)


def test_a_window_too_long_to_show_leaves_the_cache_out() -> None:
    ids = torch.full((2, 12), 5)
    found = to_program(
        Loaded("net", "module", module=Windowed(300).eval()), (), {"ids": ids}, synthetic=True, kv_cache=True
    )
    assert cache_of(found.program.inputs) == ()
    assert found.notes == (
        "captured without a key–value cache: its cache is cut to the last 300 places, too many to show in an example",
    )


def test_own_converter_comes_first() -> None:
    program = capture(Net().eval(), (torch.randn(2, 4),))
    loaded = Loaded("net", "TorchScript", convert=lambda args, kwargs, synthetic: program)
    assert to_program(loaded, (torch.ones(2, 4),), synthetic=True) is program


def test_nothing_loaded() -> None:
    with pytest.raises(InputError, match="holds no model"):
        to_program(Loaded("net", "nothing"), (torch.ones(1),), synthetic=True)
