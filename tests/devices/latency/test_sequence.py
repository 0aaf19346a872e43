"""A token model by hand: nominal work, what its words and neighbours make of it, and what a file may hold."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from timed_networks import call, conv, network, relu

from compressor.devices.latency.fusion import fit_fusion
from compressor.devices.latency.layout import Layout
from compressor.devices.latency.sequence import Member, SequenceModel, work_of
from compressor.devices.latency.tokens import sentences_of
from compressor.devices.latency.vocabulary import vocabulary_of

WIDTH = 4


def member(columns: int, **parts: Any) -> Member:
    """One that corrects nothing but by `parts`."""
    plain = {
        "nominal": np.log([4.0, 1 / 20e3, 1 / 8e3]), "embed": np.zeros((columns, WIDTH)),
        **{part: np.zeros((WIDTH, WIDTH)) for part in ("before", "own", "after")},
        **{part: np.zeros(WIDTH) for part in ("shift", "out", "skip")}, "constant": np.zeros(1),
    }  # fmt: skip
    return Member(**{**plain, **parts})


def model(count: int = 1, **parts: Any) -> SequenceModel:
    one = network(1)
    fusion = fit_fusion([(one.calls, {}, {c.name for c in one.calls if c.op != "relu"})] * 3)
    vocabulary = vocabulary_of([sentences_of(one.calls, Layout(), fusion)] * 3)
    members = tuple(member(vocabulary.columns, **parts) for _ in range(count))
    return SequenceModel(Layout(), fusion, vocabulary, members, frozenset({"conv2d", "linear", "relu"}), 0.1)


def test_without_a_correction_it_is_the_nominal_work() -> None:
    one = network(1)
    found = model().predict(one.calls)
    assert found.microseconds == pytest.approx(one.microseconds)  # the device's law in `timed_networks` is nominal
    assert found.microseconds == pytest.approx(sum(found.calls.values()))
    assert {name for name, time in found.calls.items() if not time} == {f"relu_{place}" for place in range(5)}
    assert found.high / found.microseconds == pytest.approx(math.exp(0.1))
    assert found.low * found.high == pytest.approx(found.microseconds**2)
    assert (found.covered, found.unknown) == (1.0, ())


def test_a_word_makes_its_call_slower_and_no_other() -> None:
    plain = model()
    embed = np.zeros((plain.vocabulary.columns, WIDTH))
    embed[plain.vocabulary.words.index("op:linear"), 0] = 50.0  # tanh is 1
    found = model(embed=embed, skip=np.array([math.log(3), 0, 0, 0])).predict(network(1).calls)
    before = plain.predict(network(1).calls)
    assert found.calls["linear"] == pytest.approx(3 * before.calls["linear"])
    assert found.calls["conv_0"] == pytest.approx(before.calls["conv_0"])


def test_a_neighbour_in_the_stream_counts() -> None:
    plain = model()
    embed = np.zeros((plain.vocabulary.columns, WIDTH))
    embed[plain.vocabulary.words.index("op:linear"), 0] = 50.0
    identity, out = np.eye(WIDTH), np.array([math.log(2), 0, 0, 0])
    found = model(embed=embed, after=identity, out=out).predict(network(1).calls)
    before = plain.predict(network(1).calls)
    assert found.calls["conv_4"] == pytest.approx(2 * before.calls["conv_4"]), "the linear layer comes after it"
    assert found.calls["conv_3"] == pytest.approx(before.calls["conv_3"])
    assert found.calls["linear"] == pytest.approx(before.calls["linear"])


def test_members_are_averaged_in_logarithms() -> None:
    one = model()
    slow = replace(one.members[0], constant=np.array([math.log(4)]))
    both = replace(one, members=(one.members[0], slow))
    assert both.predict(network(1).calls).microseconds == pytest.approx(2 * one.predict(network(1).calls).microseconds)


def test_a_correction_is_bounded() -> None:
    wild = model(constant=np.array([1e9])).predict(network(1).calls).microseconds
    assert wild == pytest.approx(math.exp(5) * model().predict(network(1).calls).microseconds)


def test_an_operator_never_seen_is_priced_and_said() -> None:
    one = conv("conv", "x", 8, 8, 32)
    strange = call("fft", "fft", "other", one.shape, ("relu", one.shape), macs=10**8)
    found = model().predict([one, relu("relu", one), strange])
    assert (found.unknown, found.covered) == (("fft",), pytest.approx(0.5))
    assert found.calls["fft"] > 10**8 / 20e3
    known = model().predict([one, relu("relu", one)])
    assert found.high / found.microseconds > known.high / known.microseconds


def test_copies_are_booked_on_their_call() -> None:
    one = conv("conv", "x", 16, 16, 32)
    plain, blocked = model(), replace(model(), layout=Layout(True))
    copied = 2 * (4 + 2 * 4 * 16 * 32 * 32 / 8e3)  # into the layout and out of it
    assert blocked.predict([one]).calls["conv"] == pytest.approx(plain.predict([one]).calls["conv"] + copied)
    assert blocked.predict([one]).unknown == ()
    assert blocked.predict([one]).covered == 1.0


def test_nothing_takes_no_time() -> None:
    found = model().predict([])
    assert (found.microseconds, found.covered, found.unknown) == (0.0, 1.0, ())
    assert work_of([]).shape == (0, 2)


def test_back_from_json() -> None:
    text = json.dumps(model(2).to_json(), allow_nan=False)
    again = SequenceModel.from_json(json.loads(text))
    ours, theirs = model(2).predict(network(3).calls), again.predict(network(3).calls)
    assert theirs.microseconds == pytest.approx(ours.microseconds, rel=1e-4)
    assert theirs.unknown == ours.unknown
    assert json.dumps(again.to_json()) == text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 9}, "version 9"),
        ({"members": []}, "0 members"),
        ({"members": 17}, "17 members"),
        ({"spread": float("nan")}, "spread"),
        ({"spread": -1}, "spread"),
        ({"threads": 0}, "0 threads"),
    ],
)
def test_what_is_no_model_is_refused(change: dict[str, Any], says: str) -> None:
    whole = model().to_json()
    if isinstance(change.get("members"), int):
        change = {"members": whole["members"] * change["members"]}
    with pytest.raises(ValueError, match=says):
        SequenceModel.from_json({**whole, **change})


@pytest.mark.parametrize("part", ["nominal", "embed", "after", "skip"])
@pytest.mark.parametrize("value", [[1.0], [float("inf")] * 3, [[1.0, 2.0]], "text"])
def test_a_member_that_does_not_fit_is_refused(part: str, value: Any) -> None:
    whole = model()
    data = {**whole.members[0].to_json(), part: value}
    with pytest.raises(ValueError, match=r"finite numbers|could not convert"):
        Member.from_json(data, whole.vocabulary.columns)
    with pytest.raises(KeyError):
        Member.from_json({}, 3)
