"""Weights in slots written out: the same function, dense."""

from __future__ import annotations

import torch
from sharing_nets import context, deep_gpt

from compressor.export.slots import expanded
from compressor.passes.share import Share


def test_the_weights_are_stored_under_their_layers_and_compute_the_same() -> None:
    program = Share("4", "random").run(deep_gpt(), context()).program
    dense = expanded(program)
    assert dense.unique_bytes() > 2 * program.unique_bytes()
    assert not any("expand_slots" in str(node.target) for node in dense.nodes())
    [ours], [theirs] = dense.run().values(), program.run().values()
    assert torch.equal(ours, theirs)


def test_a_program_without_slots_is_itself() -> None:
    assert expanded(deep_gpt()) is deep_gpt()
