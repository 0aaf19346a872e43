"""What converters read: stored tensors by name, and a refusal for those that are computed."""

from __future__ import annotations

import pytest
import torch
from compiled import needs_tvm
from torch import fx, nn

needs_tvm()

from compressor.errors import ExportError  # noqa: E402
from compressor.export.kernels.epilogue import Ending, Step  # noqa: E402
from compressor.export.tvm_stored import Reading, end_of, pair, stored_in  # noqa: E402


def test_tensors_are_known_by_the_node_that_reads_them() -> None:
    exported = torch.export.export(nn.Linear(3, 2), (torch.randn(1, 3),))
    stored = stored_in(exported)
    assert sorted(tuple(value.shape) for value in stored.values()) == [(2,), (2, 3)]
    reading = Reading(stored, None)
    nodes = {node.name: node for node in exported.graph.nodes}
    assert all(reading.tensor(nodes[name]) is not None for name in stored)
    assert reading.optional(None) is None
    with pytest.raises(ExportError, match="computed"):
        reading.tensor(next(node for node in exported.graph.nodes if node.op == "call_function"))
    with pytest.raises(ExportError, match="no kernels"):
        _ = reading.isa


def test_what_follows_is_told_to_kernels() -> None:
    assert end_of(None, None, 0.0, None, None).ending == Ending(False, 0.0, None)
    found = end_of(None, None, None, None, [0.5, 3.0, -128.0, 127.0, 0.0]).ending.codes
    assert found == Step(0.5, 3, -128, 127, unsigned=False)
    assert pair(fx.immutable_collections.immutable_list([2, 3])) == (2, 3)
