"""Thousands of damaged files: each loads or raises one of our errors; nothing runs and nothing is left behind.

The number of examples is `COMPRESS_FUZZ_EXAMPLES` in all (200 unless set).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile.archives import edit_model, small_pt2
from hostile.models import Net, factory_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from compressor.errors import CompressError
from compressor.load import load_model

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.(trace|save).*:DeprecationWarning")

EXAMPLES = int(os.environ.get("COMPRESS_FUZZ_EXAMPLES", "200"))


def share(part: float) -> Any:
    return settings(
        max_examples=max(1, int(EXAMPLES * part)), deadline=None, database=None, derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip


def _save_script(path: Path) -> None:
    torch.jit.save(torch.jit.trace(Net().eval(), torch.randn(2, 4)), path)


MAKERS: dict[str, Callable[[Path], object]] = {
    "pt2": small_pt2,
    "checkpoint": lambda path: torch.save(Net().state_dict(), path),
    "legacy": lambda path: torch.save(Net().state_dict(), path, _use_new_zipfile_serialization=False),
    "safetensors": lambda path: save_file(Net().state_dict(), path),
    "script": _save_script,
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("originals")
    torch.manual_seed(0)
    for name, make in MAKERS.items():
        make(folder / name)
    return {name: (folder / name).read_bytes() for name in MAKERS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fuzz")
    factory_file(path)
    return path


def attempt(folder: Path, content: bytes | None = None) -> None:
    """Load `model.bin` of the folder; only our errors come out, and the folder stays as it was."""
    path = folder / "model.bin"
    if content is not None:
        path.write_bytes(content)
    with contextlib.suppress(CompressError):
        load_model(path, factory=f"{folder / 'factory.py'}:net")
    left = {entry.name for entry in folder.iterdir()} - {"factory.py", "__pycache__", "model.bin", "model.pt2"}
    assert not left


MAGICS = [b"", b"PK\x03\x04", b"\x80\x02", b"\x10" + bytes(7) + b"{"]


@share(0.2)
@given(content=st.binary(max_size=400), magic=st.sampled_from(MAGICS))
def test_random_bytes(folder: Path, content: bytes, magic: bytes) -> None:
    attempt(folder, magic + content)


@share(0.4)
@given(
    kind=st.sampled_from(sorted(MAKERS)),
    cuts=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), st.binary(max_size=8)), min_size=1, max_size=6),
)
def test_damaged_file(
    folder: Path, originals: dict[str, bytes], kind: str, cuts: list[tuple[float, int, bytes]]
) -> None:
    """Pieces replaced by others, anywhere."""
    content = originals[kind]
    for place, length, piece in cuts:
        at = int(place * len(content))
        content = content[:at] + piece + content[at + length :]
    attempt(folder, content)


@share(0.1)
@given(kind=st.sampled_from(sorted(MAKERS)), place=st.floats(0, 1))
def test_truncated_file(folder: Path, originals: dict[str, bytes], kind: str, place: float) -> None:
    attempt(folder, originals[kind][: int(place * len(originals[kind]))])


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=12), st.just([]), st.just({}),
    st.sampled_from(["torch.os.system", "__import__('os').system('true')", "x", "s0", "torch.ops.aten.add.Tensor"]),
)  # fmt: skip


@share(0.3)
@given(data=st.data())
def test_program_changed_anywhere(folder: Path, originals: dict[str, bytes], data: st.DataObject) -> None:
    """A valid archive whose program's JSON has one to three values replaced."""
    (folder / "model.pt2").write_bytes(originals["pt2"])

    def edit(model: Any) -> None:
        for _ in range(data.draw(st.integers(1, 3))):
            paths = list(_paths(model))
            *parents, last = data.draw(st.sampled_from(paths))
            holder = model
            for step in parents:
                holder = holder[step]
            holder[last] = data.draw(VALUES)

    edit_model(folder / "model.pt2", folder / "model.bin", edit)
    attempt(folder)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Any:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in steps:
        yield (*path, key)
        yield from _paths(item, (*path, key))


@pytest.mark.parametrize("kind", MAKERS)
def test_original_is_sound(kind: str, folder: Path, originals: dict[str, bytes]) -> None:
    """Otherwise damaging it would prove nothing."""
    (folder / "model.bin").write_bytes(originals[kind])
    loaded = load_model(folder / "model.bin", factory=f"{folder / 'factory.py'}:net")
    assert loaded.module or loaded.program or loaded.convert
