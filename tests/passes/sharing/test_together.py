"""The rewrite: one tensor under one name, the same function as with copies."""

from __future__ import annotations

import torch
from sharing_nets import copied, deep_gpt

from compressor.graph.edit import finish
from compressor.passes.sharing.together import with_values, write_together
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
