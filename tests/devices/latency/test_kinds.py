"""model.json says which kind it holds, and one that says nothing holds features."""

from __future__ import annotations

import pytest
from timed_networks import network, networks

from compressor.devices.latency import sequence_fit
from compressor.devices.latency.kinds import FEATURES, KINDS, TOKENS, fit_models, read_model
from compressor.devices.latency.learned import Learned
from compressor.devices.latency.sequence import SequenceModel
from compressor.devices.latency.sequence_training import Training
from compressor.errors import InputError


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence_fit, "Training", lambda: Training(members=2, width=4, steps=5))


@pytest.mark.parametrize(("kind", "made"), [(FEATURES, Learned), (TOKENS, SequenceModel)])
def test_each_kind_is_fitted_and_read_back_as_what_it_is(kind: str, made: type) -> None:
    model = fit_models({1: networks(4)}, kind)[1]
    again = read_model(model.to_json())
    assert isinstance(model, made)
    assert isinstance(again, made)
    assert (again.kind, again.threads) == (kind, 1)
    one = network(20).calls
    assert again.predict(one).microseconds == pytest.approx(model.predict(one).microseconds, rel=0.01)


def test_what_names_no_kind_holds_features() -> None:
    data = fit_models({1: networks(4)})[1].to_json()
    assert "model" not in data, "older programs read it, too"
    assert read_model(data).kind == FEATURES
    assert KINDS == ("features", "tokens")


def test_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind 'stars', where features and tokens"):
        read_model({"model": "stars"})
    with pytest.raises(InputError, match="'stars'"):
        fit_models({1: networks(2)}, "stars")
