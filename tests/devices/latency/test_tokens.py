"""The operator stream as text: a sentence for each call that takes time, words that are read back as they were."""

from __future__ import annotations

import pytest
from timed_networks import call, conv, linear, network, relu

from compressor.devices.latency.fusion import Fusion, fit_fusion
from compressor.devices.latency.layout import Layout
from compressor.devices.latency.tokens import COPIES, Sentence, Token, sentences_of
from compressor.graph.calls import Call


def fusion() -> Fusion:
    one = network(1)
    return fit_fusion([(one.calls, {}, {c.name for c in one.calls if c.op != "relu"})] * 3)


def stream(*calls: Call, blocked: bool = False) -> list[Sentence]:
    return sentences_of(calls, Layout(blocked), fusion())


def sizes(sentence: Sentence) -> dict[str, float]:
    return {word.field: word.size for word in sentence.words if word.size is not None}


def test_a_convolution_in_words() -> None:
    one = conv("conv", "x", 16, 24, 32, stride=2)
    (said,) = stream(one, relu("relu", one))
    words = str(said).split()
    assert words[:4] == ["op:conv2d", "kind:conv2d", "format:fp32", "kernel:conv2d"]
    assert {"window:3x3", "stride:2x2", "groups:one", "maker:input", "channels-of:16", "filters-of:8"} <= {*words}
    assert (said.name, said.op, said.macs) == ("conv", "conv2d", one.macs)
    assert said.bytes == one.bytes + one.read_bytes + one.weight_bytes


def test_what_is_fused_says_nothing_of_its_own_but_is_a_word_of_its_kernel() -> None:
    first = conv("a", "x", 16, 16, 8, fellows=("relu",), readers=("relu",))
    second = conv("b", "relu", 16, 16, 8)
    said = stream(first, relu("relu", first), second)
    assert [each.name for each in said] == ["a", "b"]
    assert "fellow:relu" in str(said[0])
    assert "maker:relu" in str(said[1])


def test_sizes_are_quarters_of_an_octave() -> None:
    found = sizes(stream(linear("l", "x", 63, 255, 100))[0])
    assert (found["rows"], found["inner"]) == (6.0, 8.0)
    assert found["columns"] == 6.75  # log₂ 101 = 6.66
    assert all(size * 4 == round(size * 4) for size in found.values())


def test_arguments_are_axes_and_switches_and_no_sizes() -> None:
    one = call("p", "permute", "layout", (1, 8, 4), ("x", (1, 4, 8)), arguments=(None, (0, 2, 1)))
    other = call("v", "slice", "layout", (1, 8, 4), ("p", (1, 8, 400)), arguments=(None, -1, 0, 396))
    said = stream(one, other)
    assert "arguments:0,2,1" in str(said[0])
    assert str(said[1]).split()[-3:] == ["arguments:-1", "arguments:0", "arguments:n"]


def test_copies_between_layouts_are_sentences_before_the_call_they_are_booked_on() -> None:
    said = stream(conv("conv", "x", 16, 16, 8), blocked=True)
    assert [each.op for each in said] == [COPIES, COPIES, "conv2d"]
    assert {each.name for each in said} == {"conv"}
    assert "way:input" in str(said[0])
    assert "way:output" in str(said[1])
    assert said[0].bytes == 2 * 4 * 16 * 8 * 8  # read and written
    assert said[0].macs == 0


def test_nothing_says_nothing() -> None:
    assert stream() == []


@pytest.mark.parametrize("seed", range(5))
def test_words_are_read_back_as_they_were(seed: int) -> None:
    said = sentences_of(network(seed).calls, Layout(True), fusion())
    words = [word for sentence in said for word in sentence.words]
    assert words
    assert [Token.parse(str(word)) for word in words] == words
    assert not any(" " in str(word) for word in words)
    assert said == sentences_of(network(seed).calls, Layout(True), fusion())


def test_a_value_may_hold_any_mark() -> None:
    for token in (Token("op", "compressor::quantize"), Token("arguments", "~1"), Token("macs", size=24.25)):
        assert Token.parse(str(token)) == token


@pytest.mark.parametrize("text", ["", "op", ":conv2d", "~3", "macs~many"])
def test_what_is_no_word_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no word|could not convert"):
        Token.parse(text)
