"""Rows of the quantization benchmark: every pass list is one, every tool makes a file that runs, and the table."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from artifact import Artifact  # found through the line above
from quantization import file_of, table
from quantizers import KINDS, ROWS, Job
from quantizers.own import PASSES, TRAINED
from subjects import Subject

from compressor.graph.capture import capture
from compressor.graph.contract import Batch, Context
from compressor.passlist import parse_passes
from compressor.targets.loader import load_target


class Small(nn.Module):
    """A linear net with a product that four bits are for."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(128, 128), nn.Linear(128, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.relu(self.one(x)))


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    torch.manual_seed(0)
    program = capture(Small().eval(), (torch.randn(2, 8, 128),)).program
    key = program.inputs[0].name

    def batches(count: int, seed: int) -> list[Batch]:
        return [{key: torch.randn(8, 8, 128, generator=torch.Generator().manual_seed(seed))} for _ in range(count // 8)]

    subject = Subject("vit", "accuracy", 1, program, batches, lambda runs: 0.0)
    context = Context(load_target("host"), calibration=batches(32, 0), synthetic=False)
    made = Job(subject, context, tmp_path_factory.mktemp("files") / "fp32.onnx")
    ROWS["fp32"].make(made, made.plain)
    return made


@pytest.mark.parametrize("name", [
    "int8", "int4", "ternary", "int8 ort static minmax", "int8 ort static percentile layers", "int8 ort dynamic",
    "int4 ort rtn",
])  # fmt: skip
@pytest.mark.filterwarnings("ignore")  # the tools' own
def test_a_row_makes_a_file_that_is_about_the_float_one(name: str, job: Job, tmp_path: Path) -> None:
    ROWS[name].make(job, path := tmp_path / "made.onnx")
    batch = job.context.calibration[0]
    [wanted], [found] = (Artifact(each).run(batch).values() for each in (job.plain, path))
    away = float((found - wanted).norm() / wanted.norm())
    coarse = "int4" in name or (" ort " in name and load_target("host").saturates)  # as it runs, pairs cut off
    assert 0 < away < (0.6 if "ternary" in name else 0.15 if coarse else 0.05)
    operators = {node.op_type for node in onnx.load(path).graph.node}
    integer = {"int8": {"QuantizeLinear", "DynamicQuantizeLinear"}}.get(ROWS[name].kind, {"MatMulNBits"})
    assert operators & integer


def test_every_row_is_of_a_kind_and_every_pass_list_is_one() -> None:
    assert {row.kind for row in ROWS.values()} <= set(KINDS)
    assert {row.tool for row in ROWS.values()} == {"ours", "ONNX Runtime", "NNCF"}
    assert all(parse_passes(passes) for passes, _ in (*PASSES.values(), *TRAINED.values()))
    assert all(ROWS[name].trained for name in TRAINED)
    assert len({file_of(Path(), name) for name in ROWS}) == len(ROWS)


def test_the_table_tells_what_failed_and_puts_ours_first() -> None:
    cells: Mapping[str, dict[str, Any]] = {
        "vit int4 peer": {"tool": "peer", "failed": "TypeError: no"},
        "vit int4": {"tool": "ours", "accuracy": 0.9, "bytes": 2_000_000},
        "vit fp32": {"tool": "ours", "accuracy": 0.91, "bytes": 4_000_000},
        "vit int4 @1": {"ms": 0.5, "of_fp32": [0.4, 0.5, 0.6]},
        "gpt fp32": {"tool": "ours", "perplexity": 3.0, "bytes": 1},
    }
    lines = list(table("vit", cells, [1]))
    assert lines[0] == "| vit | accuracy | MB | ms, 1 thread | × fp32 |"
    assert lines[2].startswith("| fp32 | 0.9100 | 4.00 |")
    assert lines[3] == "| int4 | 0.9000 | 2.00 | 0.500 | 0.50 (0.40–0.60) |"
    assert "TypeError: no" in lines[4]
    assert len(lines) == 5
