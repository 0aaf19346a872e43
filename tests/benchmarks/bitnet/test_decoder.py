"""A decoder written tensor by tensor: it has the parameters it says, runs in every format, and reads its cache."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

from bitnet.decoder import FORMATS, SHAPES, Shape, embedding_bytes, write_decoder  # found through the line above
from bitnet.worker import opened

SMALL = Shape(128, 300, 2)


def test_the_published_sizes() -> None:
    assert {name: round(shape.parameters / 1e6) for name, shape in SHAPES.items()} == {
        "125M": 134, "350M": 369, "700M": 778, "1.3B": 1339,
    }  # fmt: skip


@pytest.mark.parametrize("format", FORMATS)
def test_it_holds_its_parameters_and_computes(format: str, tmp_path: Path) -> None:
    size = write_decoder(SMALL, format, path := tmp_path / "model.onnx")
    assert size == path.stat().st_size + path.with_name("model.onnx.data").stat().st_size
    model = onnx.load(path, load_external_data=False)
    if format == "fp32":
        count = sum(int(np.prod(t.dims)) for t in model.graph.initializer if t.name not in ("cos", "sin"))
        assert count == SMALL.parameters
        assert size == pytest.approx(4 * SMALL.parameters, rel=0.02)
    else:
        assert size < 1.3 * SMALL.parameters
    session, binding = opened(str(path), 1)
    session.run_with_iobinding(binding)
    scores = binding.get_outputs()[-1].numpy()
    assert scores.shape == (1, 1, 32000)
    assert 0.05 < scores.std() < 20
    assert embedding_bytes(SMALL, "fp32") == 4 * 32000 * 128


def test_ternary_weights_are_ternary(tmp_path: Path) -> None:
    write_decoder(SMALL, "ternary", path := tmp_path / "model.onnx")
    model = onnx.load(path)
    [packed] = (onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "0.q.weight")
    fields = (packed[..., None] >> np.array([0, 2, 4, 6])) & 3
    assert set(np.unique(fields)) == {1, 2, 3}
    levels = {node.name or node.output[0]: node for node in model.graph.node if node.op_type == "MatMulNBits"}
    bits = {name: onnx.helper.get_node_attr_value(node, "bits") for name, node in levels.items()}
    assert bits["0.q"] == 2
    assert bits["scores"] == 8
