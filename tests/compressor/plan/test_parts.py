"""What a program costs, layer by layer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from boards import board
from weighed import weighed

from compressor.graph.cost import Roofline
from compressor.passes.factorize import Factorize
from compressor.plan.parts import ACTIVATIONS, origin, parts_of, priced, sketched
from compressor.targets import Figure


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


def test_a_sketch_is_priced_for_any_board() -> None:
    known = weighed()
    elsewhere = replace(known.context, target=board(bandwidth=Figure(1e8, "test")))
    there = priced(sketched(known.program), elsewhere)
    assert there.latency_ms == pytest.approx(Roofline().predict(known.program, elsewhere.target).latency_ms)
    assert there.latency_ms > 1.5 * known.swapper.base.latency_ms
    assert there.size == known.swapper.base.size
