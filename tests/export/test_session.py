from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from compressor.errors import ExportError, UnsupportedError
from compressor.export.onnx import to_onnx
from compressor.export.session import runner, session
from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize
from compressor.targets import load_target


def model_file(folder: Path, operator: str, *, domain: str = "", kind: int = TensorProto.FLOAT) -> Path:
    value = [helper.make_tensor_value_info(name, kind, ["n", 2]) for name in ("x", "y")]
    node = helper.make_node(operator, ["x"], ["y"], domain=domain)
    imports = [helper.make_opsetid("", 21), *([helper.make_opsetid(domain, 1)] if domain else [])]
    graph = helper.make_graph([node], "g", value[:1], value[1:])
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), path)
    return path


def test_runs_by_name(conv_program: Program, conv_onnx: Path) -> None:
    run = runner(conv_onnx, threads=1)
    result = run({"x": conv_program.example[0], "unused": torch.zeros(1)})
    torch.testing.assert_close(result, conv_program.run(), rtol=1e-4, atol=1e-5)


def test_without_optimization_too(conv_program: Program, conv_onnx: Path) -> None:
    result = runner(conv_onnx, optimize=False, exact=False)({"x": conv_program.example[0]})
    torch.testing.assert_close(result, conv_program.run(), rtol=1e-4, atol=1e-5)


def test_threads_are_those_asked_for(conv_onnx: Path) -> None:
    options = session(conv_onnx, 1, spinning=False).get_session_options()
    assert options.intra_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_a_broken_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(ExportError, match="cannot load") as caught:
        session(path)
    assert str(tmp_path) not in str(caught.value)


def test_an_operator_without_kernel_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="no kernel"):
        session(model_file(tmp_path, "Relu", kind=TensorProto.BFLOAT16))


def test_a_wrong_shape_is_told(conv_onnx: Path) -> None:
    with pytest.raises(ExportError, match=r"model\.onnx"):
        runner(conv_onnx)({"x": torch.zeros(2, 3)})


def test_int8_weights_compute_in_float_unless_the_runtimes_rounding_is_asked_for(tmp_path: Path) -> None:
    """Without activations to quantize, the artifact is the float product of int8 weights, and is held to that."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
    program = capture(net, (torch.randn(4, 5, 64),)).program
    target = load_target("x86-64")
    small = Quantize(format="int8").run(program, Context(target=target)).program
    path = tmp_path / "model.onnx"
    to_onnx(small, target).save(path)
    batch = {"input": program.example[0]}
    expected = small.run(batch)["output"]
    exact, rounded = (runner(path, approximate=each)(batch)["output"] for each in (False, True))
    assert torch.allclose(exact, expected, atol=1e-5)
    assert not torch.allclose(rounded, expected, atol=1e-5)


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.relu(self.linear(x)))


def test_a_weight_that_two_products_share_runs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    program = capture(Shared(), (torch.randn(2, 64),)).program
    target = load_target("x86-64")
    program = Quantize(mode="weight-only").run(program, Context(target)).program
    to_onnx(program, target).save(tmp_path / "model.onnx")
    [value] = runner(tmp_path / "model.onnx")({"x": program.example[0]}).values()
    torch.testing.assert_close(value, program.run()["output"], rtol=1e-4, atol=1e-5)


def test_large_files_keep_the_integer_products_of_weights_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without prepacking, which large files otherwise go without, the runtime computes them in float."""
    torch.manual_seed(0)
    program = capture(nn.Linear(256, 64), (torch.randn(4, 256),)).program
    blocks = Quantize("int4").run(program, Context(load_target("x86-64"))).program
    path = tmp_path / "model.onnx"
    to_onnx(blocks, load_target("x86-64")).save(path)
    monkeypatch.setattr("compressor.export.session.LARGE", 0)
    results = runner(path, threads=1)({blocks.inputs[0].name: blocks.example[0]})
    torch.testing.assert_close(results, blocks.run(), rtol=1e-5, atol=1e-5)
