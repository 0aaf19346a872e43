"""`compress inspect`: the table, its totals, and its JSON."""

from __future__ import annotations

import io
import json

import pytest
import torch
from boards import board
from decoders import tiny_decoder
from rich.console import Console
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.inspecting import Inspection, inspect_program


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 16, 3), nn.Linear(16, 10)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(torch.relu(self.stem(image)).mean((2, 3)))


@pytest.fixture(scope="module")
def inspection() -> Inspection:
    return inspect_program(capture(Net().eval(), (torch.randn(2, 3, 12, 12),)).program, board(), batch=4)


def shown(inspection: Inspection, width: int = 80) -> str:
    stream = io.StringIO()
    inspection.render(Console(file=stream, width=width, no_color=True, highlight=False))
    return stream.getvalue()


def test_one_row_a_kernel_with_the_roof_it_hits(inspection: Inspection) -> None:
    rows = [line.split() for line in shown(inspection).splitlines()]
    assert rows[0] == ["layer", "kind", "output", "MACs", "bytes", "in", "time", "share", "roof"]
    assert rows[1][:6] == ["stem", "conv2d", "4×16×10×10", "173", "k", "34.3"]
    assert [row[-1] for row in rows[1:4]] == ["compute", "memory", "memory"]


def test_totals_and_the_label_where_the_number_stands(inspection: Inspection) -> None:
    text = " ".join(shown(inspection).split())
    assert "target board, batch 4, inputs image batch×3×12×12 float32" in text
    assert "predicted latency" in text
    assert text.index("uncalibrated") > text.index("predicted latency")


def test_json_holds_what_the_table_shows(inspection: Inspection) -> None:
    data = json.loads(json.dumps(inspection.to_json(), allow_nan=False))
    assert [kernel["layer"] for kernel in data["kernels"]] == ["stem", "mean", "head"]
    assert data["macs"] == sum(kernel["macs"] for kernel in data["kernels"]) == 4 * (16 * 100 * 27 + 160)
    assert sum(kernel["share"] for kernel in data["kernels"]) == pytest.approx(1)
    assert data["latency_ms"] == {"predicted": inspection.estimate.latency_ms, "measured": None}
    assert data["calibrated"] is False
    assert data["parameters"] == 16 * 27 + 16 + 160 + 10


def test_readable_at_80_columns(inspection: Inspection) -> None:
    assert max(map(len, shown(inspection).splitlines())) <= 80


def test_names_cannot_reach_the_terminal_as_control_codes(inspection: Inspection) -> None:
    from dataclasses import replace

    first = replace(inspection.estimate.kernels[0], layer="\x1b[2J[/red]")
    hostile = replace(inspection, estimate=replace(inspection.estimate, kernels=(first,)), inputs=("\x1b]0;x\x07",))
    text = shown(hostile, 120)
    assert "\x1b" not in text
    assert "[/red]" in text


def test_a_decoder_is_priced_by_the_token() -> None:
    found = inspect_program(tiny_decoder(), board())
    text = " ".join(shown(found).split())
    assert "a token behind 128 kept; the first one, after 128 read, takes" in text
    assert found.first_token is not None
    assert found.first_token.macs > 50 * found.estimate.macs
    assert json.loads(json.dumps(found.to_json()))["first_token_ms"] == found.first_token.latency_ms
