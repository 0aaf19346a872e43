from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
import torch
from boards import board
from quantized import with_int8
from torch import nn

from compressor.export.check import check
from compressor.export.onnx import Lowered, to_onnx
from compressor.graph.capture import capture
from compressor.graph.edit import begin, finish, insert


def test_no_path_of_this_machine_is_in_the_file(text_lowered: Lowered, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    text_lowered.save(path)
    content = path.read_bytes()
    for part in (str(Path(torch.__file__).parent.parent), str(Path(__file__).parent), "site-packages", "Traceback"):
        assert part.encode() not in content
    model = onnx.load(path)
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    assert not model.metadata_props


def test_nodes_are_called_after_their_layers(conv_lowered: Lowered) -> None:
    names = [str(node.name) for node in conv_lowered.model.graph]
    assert len(set(names)) == len(names)
    assert any(name.endswith("/Conv") for name in names)
    assert "head/Gemm" in names


def test_what_was_tried_and_thrown_away_leaves_no_trace(tmp_path: Path) -> None:
    torch.manual_seed(0)
    program = capture(nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.LSTM(12, 4)), (torch.rand(2, 5, 8),)).program
    tried = begin(program)
    relu = next(node for node in tried.graph.nodes if "relu" in node.name)
    for name in ("linear", "relu"):
        again = insert(tried, relu.target, relu.args, like=relu, before=relu)
        again.name = f"{name}_of_a_trial"
    relu.replace_all_uses_with(again)
    paths = []
    for each in (program, finish(tried)):
        paths.append(tmp_path / f"{len(paths)}.onnx")
        to_onnx(each, board()).save(paths[-1])
    assert paths[0].read_bytes() == paths[1].read_bytes()
    results = [name for node in onnx.load(paths[0]).graph.node for name in node.output]
    assert "0/MatMul" in results or "0/Gemm" in results
    assert len(set(results)) == len(results)


def test_parameters_keep_their_names(text_lowered: Lowered) -> None:
    names = set(text_lowered.model.graph.initializers)
    assert {"block.linear1.weight", "block.linear1.bias", "block.norm1.weight"} <= names
    assert names & {"embed.weight", "head.weight"}


def test_a_quantized_matrix_is_stored_as_the_kernels_want_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 4))
    program = capture(model, (torch.rand(2, 5, 8),)).program
    names = [node.name for node in program.nodes() if "linear" in node.name]
    program = with_int8(program, *names)
    lowered = to_onnx(program, board("CUDAExecutionProvider"))
    kinds = [node.op_type for node in lowered.model.graph]
    assert "Transpose" not in kinds
    weight = lowered.model.graph.initializers["0.weight_0"].const_value
    assert weight is not None
    assert (weight.dtype, list(weight.shape)) == (ir.DataType.INT8, [8, 12])
    nodes = [node for node in lowered.model.graph if node.op_type == "DequantizeLinear"]
    points = [node.inputs[2] for node in nodes if node.inputs[0] is not None and node.inputs[0].is_initializer()]
    assert len({id(point) for point in points}) == len(points) == 2
    path = tmp_path / "model.onnx"
    lowered.save(path)
    check(program, path)
