"""An entry's file reads the network's weights, runs as one that was exported alone, and has little of its own."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from elastic_nets import context, digits_entries
from recovery import digits_batches, vit

from compressor.errors import ExportError
from compressor.export.check import check
from compressor.export.entries import write_entry
from compressor.export.onnx import to_onnx
from compressor.graph.contract import Batch
from compressor.graph.entries import Entry
from compressor.graph.program import Program
from compressor.passes.elastic import Elastic
from compressor.targets import load_target

TARGET = load_target("x86-64")


def written(program: Program, entry: Entry, folder: Path) -> Path:
    to_onnx(program, TARGET).save(folder / "model.onnx", limit=0)
    write_entry(entry, TARGET, folder / "model.onnx", folder / "model-half.onnx")
    return folder / "model-half.onnx"


def operators(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path, load_external_data=False).graph.node}


def optimized(path: Path) -> Path:
    """The graph that ONNX Runtime really runs."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path.with_name("optimized.onnx"))
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return path.with_name("optimized.onnx")


def test_rows_and_scales_are_folded_when_it_is_loaded(tmp_path: Path) -> None:
    """Batch norms are folded into the layers before them, by statistics of the entry's own."""
    program, (half, _) = digits_entries()
    path = written(program, half, tmp_path)
    check(half.program, path, digits_batches()[:2])
    alone = to_onnx(half.program, TARGET).save(tmp_path / "alone.onnx")[0]
    assert {"Slice", "Mul"} <= operators(path)
    assert operators(optimized(path)) == operators(alone)
    assert path.stat().st_size < alone.stat().st_size / 5


def test_heads_and_inner_widths_of_a_transformer(tmp_path: Path) -> None:
    program = vit(2, 32)
    batches: list[Batch] = [{program.inputs[0].name: torch.randn(4, 6, 5)}]
    done = Elastic("0.5", train="none").run(program, context(program, batches))
    path = written(done.program, done.entries["0.5"], tmp_path)
    check(done.entries["0.5"].program, path, batches)
    stored = {t.name for t in onnx.load(path, load_external_data=False).graph.initializer if t.external_data}
    assert {"1.0.qkv.weight", "1.0.ffn.1.weight", "1.1.ffn.3.weight"} <= stored


def test_the_same_file_each_time(tmp_path: Path) -> None:
    program, (half, _) = digits_entries()
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        contents.append(written(program, half, tmp_path / name).read_bytes())
    assert contents[0] == contents[1]


def test_a_tensor_that_is_no_rows_of_another_stays_its_own(tmp_path: Path) -> None:
    from compressor.graph.edit import begin, finish, set_tensor

    program, (half, _) = digits_entries()
    changed = begin(half.program)
    weight = torch.randn(half.program.get("second.inner.0.weight").shape)
    set_tensor(changed, "second.inner.0.weight", weight)
    entry = Entry(finish(changed), half.rows)
    path = written(program, entry, tmp_path)
    check(entry.program, path, digits_batches()[:1])
    own = {t.name for t in onnx.load(path, load_external_data=False).graph.initializer if not t.external_data}
    assert "second.inner.0.weight" in own


def test_what_shares_nothing_is_no_entry(tmp_path: Path) -> None:
    program, (half, _) = digits_entries()
    to_onnx(program, TARGET).save(tmp_path / "model.onnx")  # weights within the file
    with pytest.raises(ExportError, match="shares no tensor"):
        write_entry(half, TARGET, tmp_path / "model.onnx", tmp_path / "model-half.onnx")
    with pytest.raises(ValueError, match="not beside"):
        write_entry(half, TARGET, tmp_path / "model.onnx", tmp_path / "other" / "model-half.onnx")
    assert not (tmp_path / "model-half.onnx").exists()
