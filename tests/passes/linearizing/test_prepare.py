"""Two programs that compute the same, with activations under the same names."""

from __future__ import annotations

import torch

from compressor.passes.linearizing.prepare import apart, functional, trainable
from tests.per_kernel import context, trained


def test_both_compute_what_the_original_does() -> None:
    plain = functional(trained())
    folded = apart(plain, context())
    acts = {n.name for n in plain.nodes() if "hardtanh" in str(n.target) or "relu" in str(n.target)}
    assert acts
    assert acts <= {n.name for n in folded.nodes()}
    assert not any("batch_norm" in str(n.target) for n in folded.nodes())
    base = trainable(plain, folded, acts, context())
    norms = sum("batch_norm" in str(n.target) for n in base.nodes())
    assert norms == 7 - 2, "of the two expanding layers, whose biases have to move"
    [original] = trained().run().values()
    for program in (plain, folded, base):
        torch.testing.assert_close(next(iter(program.run().values())), original, atol=1e-5, rtol=1e-4)
