"""What a program costs, layer by layer."""

from __future__ import annotations

import pytest
from weighed import weighed

from compressor.graph.cost import Roofline
from compressor.passes.factorize import Factorize
from compressor.plan.parts import ACTIVATIONS, Parts, origin, parts_of


def test_the_parts_add_up_to_the_whole() -> None:
    known = weighed()
    parts = parts_of(known.program, known.context)
    estimate = Roofline().predict(known.program, known.context.target)
    assert parts.latency_ms == pytest.approx(estimate.latency_ms)
    assert parts.bytes == known.program.unique_bytes()
    assert parts.memory == parts.bytes + estimate.peak_activation_bytes
    assert parts.of("memory")[ACTIVATIONS] == estimate.peak_activation_bytes


def test_what_a_pass_makes_of_a_layer_counts_as_that_layer() -> None:
    known = weighed()
    thin = Factorize(sites={"second.inner.0": {"rank": 8, "method": "svd"}}).run(known.program, known.context).program
    parts = parts_of(thin, known.context, known.swapper.known)
    assert set(parts.latency) <= {*known.swapper.base.latency, ""}
    assert parts.size["second.inner.0"] < known.swapper.base.size["second.inner.0"]
    assert parts.latency["stem.0"] == pytest.approx(known.swapper.base.latency["stem.0"])


def test_names_under_a_layer_are_of_it() -> None:
    assert origin("fc.first", {"fc"}) == "fc"
    assert origin("fc", {"fc"}) == "fc"
    assert origin("fc2", {"fc"}) == ""


def test_there_and_back() -> None:
    parts = Parts({"a": 1.0}, {"a": 4.0, "": 2.0}, 8.0)
    assert Parts.from_json(parts.to_json()) == parts
    with pytest.raises(KeyError):
        Parts.from_json({"latency": {}})
