"""A program as machine code: held to PyTorch on a trained network, on token ids with a mask, and in other batches."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from compiled import needs_tvm, tvm_target
from programs import conv
from quantized import with_int8
from torch import nn

from compressor.errors import ExportError, MismatchError, UnsupportedError
from compressor.export.agreement import FP32, INT8
from compressor.export.check import check
from compressor.export.codes import in_codes
from compressor.export.tvm import to_tvm
from compressor.export.tvm_session import tvm_runner
from compressor.graph.capture import capture
from compressor.graph.contract import Context, Progress
from compressor.graph.program import Program
from compressor.passes.fold import Fold
from compressor.passes.quantize import Quantize
from compressor.prepare import Prepared, prepare
from compressor.request import Request
from compressor.targets import load_target
from compressor.targets.tvm import with_runtime


@pytest.fixture(autouse=True)
def _tvm() -> None:
    needs_tvm()


@pytest.fixture(scope="module")
def trained(digits: Path) -> Prepared:
    request = Request(model=digits / "model.pt", data=digits / "data.npz", target="x86-64")
    return prepare(request, load_target("x86-64"), 0, Progress())


def names(program: Program) -> tuple[list[str], list[str]]:
    return [spec.name for spec in program.inputs], [spec.name for spec in program.outputs]


def test_a_trained_network_agrees_with_pytorch_on_real_inputs(trained: Prepared, tmp_path: Path) -> None:
    path, cores = tmp_path / "model.so", os.sched_getaffinity(0)
    assert to_tvm(trained.program, tvm_target(), path) == (path,)
    run = tvm_runner(path, *names(trained.program))
    agreement = check(trained.program, path, trained.evaluation, run=run)
    assert agreement.error < 1e-5
    assert agreement.tolerance == FP32.relative_rms
    assert agreement.samples == sum(len(batch["x"]) for batch in trained.evaluation) > 100
    assert agreement.sizes == ({"batch": 2},)
    for size in (1, 15, 16, 100):  # torch's own trace says 2 to 15
        batch = trained.timed_batch(size)
        torch.testing.assert_close(run(batch), trained.program.run(batch), rtol=1e-4, atol=1e-4)
    classes = [int(row) for row in run(trained.evaluation[0])["output"].argmax(1)]
    assert classes == [int(row) for row in trained.program.run(trained.evaluation[0])["output"].argmax(1)]
    assert b".symtab" not in path.read_bytes(), "it is stripped"
    assert os.sched_getaffinity(0) == cores, "what runs after it has the cores that it had"


def test_masks_of_minus_infinity_integers_and_repeated_outputs(text_program: Program, tmp_path: Path) -> None:
    path = tmp_path / "model.so"
    to_tvm(text_program, tvm_target(), path)
    ids = torch.randint(0, 50, (3, 6))
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2, [1] + [0] * 5])
    batch = {"input_ids": ids, "attention_mask": mask}
    agreement = check(text_program, path, [batch], run=tvm_runner(path, *names(text_program)))
    assert {output.name for output in agreement.outputs} == {spec.name for spec in text_program.outputs}
    assert agreement.error < 1e-5
    assert all(output.equal == 1 for output in agreement.outputs if output.name == "best")


def test_a_library_that_computes_something_else_is_a_mismatch(tmp_path: Path) -> None:
    program, path = conv(), tmp_path / "model.so"
    to_tvm(program, tvm_target(), path)
    with torch.no_grad():
        program.tensors()["head.weight"].mul_(1.01)
    with pytest.raises(MismatchError, match="'output' disagrees"):
        check(program, path, run=tvm_runner(path, *names(program)))


class Unknown(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.i0e(self.scale(x))


def test_what_tvm_does_not_know_is_refused_with_operator_and_layer(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"no operator for .*i0e") as told:
        to_tvm(capture(Unknown().eval(), (torch.rand(2, 4),)).program, tvm_target(), tmp_path / "model.so")
    assert "i0e" in told.value.where
    assert "--runtime" in told.value.way_out
    assert list(tmp_path.iterdir()) == []


def test_a_quantized_network_agrees_with_pytorch(conv_program: Program, tmp_path: Path) -> None:
    program, path = with_int8(conv_program, "conv2d"), tmp_path / "model.so"
    to_tvm(program, tvm_target(), path)
    agreement = check(program, path, run=tvm_runner(path, *names(program)))
    assert agreement.tolerance == INT8.relative_rms
    assert agreement.error < 1e-5


def test_what_the_passes_make_of_a_trained_network_agrees_with_pytorch(trained: Prepared, tmp_path: Path) -> None:
    context = Context(tvm_target(), calibration=trained.calibration)
    folded = Fold().run(trained.program, context).program
    pairs = Quantize("int4", block=32, solver="mse", equalize="none", slower=True).run(folded, context).program
    used = {str(node.target).partition(".")[2] for node in in_codes(pairs).nodes()}
    assert {"linear_blocks.default", "conv_codes.default", "quantize.default"} <= used
    assert "conv2d.default" not in used
    path = tmp_path / "model.so"
    to_tvm(pairs, tvm_target(), path)
    run = tvm_runner(path, *names(pairs))
    agreement = check(pairs, path, trained.evaluation, run=run)
    assert (agreement.tolerance, agreement.notes) == (INT8.relative_rms, ())
    assert agreement.error < 5e-3
    found, wanted = run(trained.evaluation[0])["output"], pairs.run(trained.evaluation[0])["output"]
    assert torch.equal(found.argmax(1), wanted.argmax(1))


def test_without_a_compiler_nothing_is_linked(
    conv_program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tvm_target()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ExportError, match=r"no C\+\+ compiler(.|\n)*apt install g\+\+"):
        to_tvm(conv_program, target, tmp_path / "model.so")


def test_for_webassembly_there_are_objects_and_a_script(conv_program: Program, tmp_path: Path) -> None:
    target = with_runtime(load_target("web-wasm"), "tvm")
    files = to_tvm(conv_program, target, tmp_path / "model.so")
    assert [file.name for file in files] == ["model-0.o", "model-1.o", "build-model.sh"]
    for file in files[:2]:
        assert file.read_bytes().startswith(b"\0asm")
    assert b"edge_model_" in files[0].read_bytes(), "functions are found by their names' beginning"
    script = files[2].read_text()
    assert "create_tvmjs_wasm" in script
    assert script.endswith("model-0.o model-1.o\n")


@pytest.mark.parametrize(("level", "kernels"), [("x86-64-v2", False), ("x86-64-v3", True)])
def test_an_x86_board_of_another_level_runs_here_in_what_it_has(
    level: str, kernels: bool, conv_program: Program, tmp_path: Path
) -> None:
    """Feature levels are a copy of the board's file away."""
    told = load_target("x86-64").compiler
    assert told is not None
    target = replace(load_target("x86-64"), compiler=replace(told, cpu=level, formats=("fp32", "int8")[: 1 + kernels]))
    target = with_runtime(target, "tvm")
    assert target.computes_in("int8") == kernels
    to_tvm(conv_program, target, tmp_path / "model.so")
    agreement = check(conv_program, tmp_path / "model.so", run=tvm_runner(tmp_path / "model.so", *names(conv_program)))
    assert agreement.error < 1e-5


def test_without_tvm_the_extra_is_named(conv_program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tvm_target()
    monkeypatch.setitem(sys.modules, "tvm", None)
    with pytest.raises(ExportError, match=r"edge-compressor\[tvm\]"):
        to_tvm(conv_program, target, tmp_path / "model.so")


class Same(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_a_network_that_computes_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="computes nothing"):
        to_tvm(capture(Same(), (torch.randn(2, 3),)).program, tvm_target(), tmp_path / "model.so")
    assert not list(tmp_path.iterdir())
