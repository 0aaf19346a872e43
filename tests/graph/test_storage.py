"""What is saved comes back: the same hash, names, dynamic dimensions and outputs; a failed save leaves nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile.archives import rewrite
from torch import Tensor, nn

import compressor.quant.ops  # noqa: F401  registers the custom operators
from compressor.errors import LoadError, OutputError
from compressor.graph import storage
from compressor.graph.capture import capture
from compressor.graph.program import Program


class Nested(nn.Module):
    """Nested inputs and outputs, an integer buffer, a tensor that is neither parameter nor buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(8, 8), nn.BatchNorm1d(8)
        self.register_buffer("steps", torch.arange(8))
        self.shift = torch.ones(8)

    def forward(self, x: Tensor, extra: dict[str, Tensor]) -> dict[str, Any]:
        return {"a": self.norm(self.linear(x) + self.steps + self.shift), "b": [extra["q"].reshape(x.shape[0], 2, -1)]}


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(20, 8), nn.Linear(8, 20, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.head(self.embed(input_ids))


class Quantized(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randint(-127, 127, (8, 8), dtype=torch.int8))
        self.register_buffer("scale", torch.rand(8) + 0.1)
        self.register_buffer("zero", torch.zeros(8, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        ops = torch.ops.compressor
        x = ops.dequantize(ops.quantize(x, self.scale[0], self.zero[0], -128, 127, -1, torch.int8), self.scale[0],
                           self.zero[0], -1)  # fmt: skip
        return nn.functional.linear(x, ops.dequantize(self.weight, self.scale, self.zero, 0))


class Branch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda x: self.a(x), lambda x: self.b(x), (x,))


MODELS: dict[str, Callable[[], tuple[nn.Module, tuple[Any, ...]]]] = {
    "nested": lambda: (Nested(), (torch.randn(2, 8), {"q": torch.randn(2, 8)})),
    "tied": lambda: (Tied(), (torch.randint(0, 20, (2, 5)),)),
    "quantized": lambda: (Quantized(), (torch.randn(2, 8),)),
    "branch": lambda: (Branch(), (torch.randn(2, 4),)),
    "attention": lambda: (nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), (torch.randn(2, 5, 16),)),
    "half": lambda: (nn.Linear(4, 4).half(), (torch.randn(2, 4).half(),)),
}


@pytest.fixture(scope="module")
def nested() -> Program:
    return capture(*MODELS["nested"](), synthetic=True).program


@pytest.mark.parametrize("name", MODELS)
def test_round_trip_keeps_everything(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    program = capture(*MODELS[name]()).program
    storage.save(program, tmp_path / "p.pt2")
    again = storage.load(tmp_path / "p.pt2")
    assert again.hash() == program.hash()
    assert (again.inputs, again.outputs, again.synthetic) == (program.inputs, program.outputs, program.synthetic)
    assert sorted(again.tensors()) == sorted(program.tensors())
    for before, after in zip(program.run().values(), again.run().values(), strict=True):
        assert torch.equal(before, after)
    storage.save(again, tmp_path / "q.pt2")
    assert storage.load(tmp_path / "q.pt2").hash() == program.hash()


def test_hash_tells_programs_apart(nested: Program) -> None:
    torch.manual_seed(1)
    other = capture(*MODELS["nested"]()).program
    assert nested.hash() != other.hash()
    renamed = replace(nested, inputs=(replace(nested.inputs[0], name="y"), *nested.inputs[1:]))
    assert nested.hash() != renamed.hash()


def test_layer_names_survive(nested: Program, tmp_path: Path) -> None:
    storage.save(nested, tmp_path / "p.pt2")
    again = storage.load(tmp_path / "p.pt2")
    stacks = [[path for path, _ in node.meta["nn_module_stack"].values()] for node in again.nodes()]
    assert ["", "linear"] in stacks


def test_foreign_archive_without_our_names(nested: Program, tmp_path: Path) -> None:
    torch.export.save(nested.export(), tmp_path / "p.pt2")
    again = storage.load(tmp_path / "p.pt2")
    assert [spec.name for spec in again.inputs] == ["x", "extra_q"]  # ours would say extra.q
    assert [spec.shape for spec in again.inputs] == [spec.shape for spec in nested.inputs]


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"inputs": [], "outputs": [], "synthetic": false}',
     '{"inputs": 3, "outputs": [], "synthetic": 0}'],
)  # fmt: skip
def test_damaged_names(nested: Program, tmp_path: Path, text: str) -> None:
    storage.save(nested, tmp_path / "p.pt2")
    damaged = rewrite(
        tmp_path / "p.pt2", tmp_path / "d.pt2", lambda n, c: text.encode() if n == "extra/program.json" else c
    )
    with pytest.raises(LoadError, match=r"program\.json"):
        storage.load(damaged)


def test_names_that_describe_another_program(nested: Program, tmp_path: Path) -> None:
    storage.save(nested, tmp_path / "p.pt2")

    def change(name: str, content: bytes) -> bytes:
        if name != "extra/program.json":
            return content
        sidecar = json.loads(content)
        sidecar["inputs"][0]["dtype"] = "int8"
        return json.dumps(sidecar).encode()

    with pytest.raises(LoadError, match="another program"):
        storage.load(rewrite(tmp_path / "p.pt2", tmp_path / "d.pt2", change))


def test_failed_save_leaves_nothing(nested: Program, tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        storage.save(nested, tmp_path / "missing" / "p.pt2")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError):
        storage.save(nested, tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_save_replaces_and_leaves_one_file(nested: Program, tmp_path: Path) -> None:
    (tmp_path / "p.pt2").write_text("old")
    storage.save(nested, tmp_path / "p.pt2")
    assert [path.name for path in tmp_path.iterdir()] == ["p.pt2"]
    assert storage.load(tmp_path / "p.pt2").hash() == nested.hash()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_full_disk(nested: Program) -> None:
    with Path("/dev/full").open("wb", buffering=0) as file, pytest.raises(OSError, match="space"):
        storage.save_file(nested, file)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="No such file"):
        storage.load(tmp_path / "none.pt2")
