"""The rewrite: one tensor under one name, the same function as with copies; blocks that go."""

from __future__ import annotations

import torch
from sharing_nets import copied, deep_gpt

from compressor.graph.edit import finish
from compressor.passes.sharing.together import bypass, why_not_bypassed, with_values, write_together
from compressor.passes.sharing.units import find_units


def test_sharing_computes_what_copies_compute_and_stores_them_once() -> None:
    program = copied(deep_gpt())
    [units], _ = find_units(program, "block", "own", ())
    values = {name: torch.full_like(program.get(name).detach(), 0.01) for name in units[1].shared[:2]}
    trial = with_values(program, units[:2], units[1], values)
    write_together(program, units[:2], units[1], values)
    shared = finish(program)
    [ours], [theirs] = shared.run().values(), trial.run().values()
    assert torch.equal(ours, theirs)
    weights = sum(deep_gpt().get(name).numel() for name in units[0].shared)
    assert shared.unique_bytes() == deep_gpt().unique_bytes() - 4 * weights
    assert not set(units[0].shared) & set(shared.tensors())
    assert "blocks.0.norm1.weight" in shared.tensors()
    assert torch.equal(deep_gpt().get("blocks.1.q.weight"), copied(deep_gpt()).get("blocks.1.q.weight"))


def test_neighbours_go_and_the_stream_goes_on() -> None:
    program = copied(deep_gpt())
    [units], _ = find_units(program, "block", "own", ())
    assert why_not_bypassed(units[1]) is None
    bypass(units[1:3])
    shorter = finish(program)
    assert {name.split(".")[1] for name in shorter.tensors() if name.startswith("blocks.")} == {"0", "3"}
    assert torch.isfinite(next(iter(shorter.run().values()))).all()


def test_a_block_that_something_else_reads_cannot_go() -> None:
    program = copied(deep_gpt())
    [units], _ = find_units(program, "block", "own", ())
    inner = next(node for node in units[1].nodes if "gelu" in str(node.target))
    with program.graph.inserting_before(program.graph.output_node()):
        program.graph.call_function(torch.ops.aten.sum.default, (inner,))
    assert "reads" in str(why_not_bypassed(units[1]))
