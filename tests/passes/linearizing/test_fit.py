"""A fit brings the outputs back toward the original's."""

from __future__ import annotations

import torch

from compressor.graph import edit
from compressor.passes.folding.rule import Bench
from compressor.passes.linearizing.fit import refit
from compressor.passes.linearizing.importance import calls, damage
from compressor.passes.linearizing.prepare import apart, functional
from compressor.passes.linearizing.removal import removed
from compressor.passes.linearizing.stretches import named
from tests.per_kernel import context, images, trained


def test_the_layers_behind_are_fitted_and_nothing_else_changes() -> None:
    folded = apart(functional(trained()), context())
    stretch = named(folded, "two.expand", "two.project")
    assert stretch is not None
    copy = edit.begin(folded)
    removed(Bench(copy), stretch.nodes)
    bare, batch = edit.finish(copy), {"x": torch.cat([x for x, _ in images(16, 5)])}
    better = refit(bare, folded, calls(stretch), batch)
    held = {"x": torch.cat([x for x, _ in images(8, 6)])}
    assert damage(folded, better, held) < 0.5 * damage(folded, bare, held)
    changed = {name for name, t in bare.tensors().items() if not torch.equal(t, better.get(name))}
    assert changed == {"two.project.weight", "two.project.bias"}, "the depthwise layer is grouped"
