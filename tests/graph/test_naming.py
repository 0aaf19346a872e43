"""Symbols are named after the dimension that first carries them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from compressor.graph.naming import input_specs, output_names, output_specs


class Halves(nn.Module):
    """A length that has to be even, another one, and a batch."""

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return a.view(a.shape[0], a.shape[1] // 2, 2).sum(2), b * 2


@pytest.fixture(scope="module")
def exported() -> ExportedProgram:
    auto: Any = {0: Dim.AUTO, 1: Dim.AUTO}
    return torch.export.export(Halves(), (torch.ones(2, 6), torch.ones(3, 8)), dynamic_shapes=(auto, auto))


def values(exported: ExportedProgram, op: str) -> list[Tensor]:
    nodes = [node for node in exported.graph.nodes if node.op == op]
    return [node.meta["val"] for node in (nodes if op == "placeholder" else nodes[0].all_input_nodes)]


def test_words_for_symbols(exported: ExportedProgram) -> None:
    inputs, words = input_specs(["a", "b"], values(exported, "placeholder"))
    assert inputs[0].shape[0] == "batch"
    assert "sequence" in str(inputs[0].shape[1])
    assert inputs[1].shape == ("b.batch", "b.sequence"), "other symbols, of other sizes"
    outputs = output_specs(["x", "y"], values(exported, "output"), words)
    assert outputs[0].shape[0] == "batch"
    assert "sequence" in str(outputs[0].shape[1])
    assert outputs[1].shape == ("b.batch", "b.sequence")


def test_output_names_avoid_those_taken(exported: ExportedProgram) -> None:
    assert output_names(exported, 2, []) == ["output_0", "output_1"]
    assert output_names(exported, 2, ["output_0"]) == ["output_0_out", "output_1"]


class Cached(nn.Module):
    """A cache beside a text, and a mask of both."""

    def forward(self, mask: Tensor, ids: Tensor, past_key_values: list[Tensor]) -> Tensor:
        if mask.shape[1] != past_key_values[0].shape[2] + ids.shape[1]:
            raise ValueError("a mask of another length")
        return torch.cat([past_key_values[0][:, 0], ids[..., None].float()], 1)


def test_a_cache_and_a_mask_of_past_and_sequence() -> None:
    auto: Any = {0: Dim.AUTO, 1: Dim.AUTO}
    given = torch.ones(2, 8), torch.ones(2, 5), [torch.ones(2, 1, 3, 1)]
    exported = torch.export.export(Cached(), given, dynamic_shapes=(auto, auto, [{0: Dim.AUTO, 2: Dim.AUTO}]))
    inputs, words = input_specs(["mask", "ids", "past_key_values.0"], values(exported, "placeholder"))
    assert [spec.shape[1] for spec in inputs[:2]] == ["past + sequence", "sequence"]
    assert inputs[2].shape[2] == "past"
    assert output_specs(["out"], values(exported, "output"), words)[0].shape[1] == "past + sequence"
