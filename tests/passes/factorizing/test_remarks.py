"""Sentences about what was lost."""

from __future__ import annotations

import torch
from every_layer import every, functional

from compressor.passes.factorizing.remarks import remarks
from compressor.passes.factorizing.settings import Choice
from compressor.passes.factorizing.sites import find_sites
from compressor.passes.factorizing.solve import Made
from compressor.passes.factorizing.svd import Factors

PARTS = Factors(torch.ones(2, 3), torch.ones(4, 2))
DATA = Choice(2, method="activation")


def test_means_beside_plain_svd() -> None:
    one, other, *_ = find_sites(functional(every()))[0]
    found = [(one, Made(DATA, PARTS, None, 0.1, 0.2)), (other, Made(DATA, PARTS, None, 0.3, 0.6))]
    assert remarks(found) == (
        "the outputs of 2 layers are off by 20.0% on the calibration data, by plain SVD of the same ranks 40.0%",
    )
    blind = [(one, Made(Choice(2), PARTS, None, 0.5, 0.5))]
    assert remarks(blind) == ("the weights of 1 layers are off by 50.0%; no data weighed what counts",)
    unseen = [(one, Made(DATA, PARTS, None, 0.5, 0.5, "what it reads is not finite, or all zero"))]
    assert remarks(unseen) == (f"{one.name} was cut without data: what it reads is not finite, or all zero",)
    assert remarks([]) == ()
