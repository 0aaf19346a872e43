"""Sketches there and back, in few words."""

from __future__ import annotations

import json

import pytest
from weighed import weighed

from compressor.graph.outline import FUSIONS
from compressor.passes.factorize import Factorize
from compressor.plan.differences import Differences
from compressor.plan.parts import sketched


def test_there_and_back() -> None:
    known = weighed()
    thin = Factorize(sites={"second.inner.0": {"rank": 8, "method": "svd"}}).run(known.program, known.context).program
    differences, sketch = Differences(sketched(known.program)), sketched(thin)
    said = json.loads(json.dumps(differences.written(sketch)))
    again = differences.read(said)
    assert again.outline.calls == sketch.outline.calls
    assert all(again.outline.kernels(fusion) == sketch.outline.kernels(fusion) for fusion in FUSIONS)
    assert again.size == sketch.size


def test_what_stays_is_a_number() -> None:
    known = weighed()
    base = sketched(known.program)
    said = Differences(base).written(sketched(known.program))
    assert said["calls"] == list(range(len(base.outline.calls)))


def test_what_is_none_is_refused() -> None:
    differences = Differences(sketched(weighed().program))
    with pytest.raises(KeyError):
        differences.read({"works": {}})
