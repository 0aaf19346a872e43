"""Prices are recovered, few samples stay near what they are pulled to, corrections are bounded."""

from __future__ import annotations

import json

import numpy as np
import pytest

from compressor.devices.latency.laws.numbers import Numbers
from compressor.devices.latency.laws.regression import Law, bent, fit_law, within


def rows(count: int, seed: int = 0) -> list[Numbers]:
    draw = np.random.default_rng(seed)
    return [
        Numbers({"call": 2.0, "macs": float(m), "bytes": float(b)}, {"odd": float(i % 2), "size": float(np.log(m))})
        for i, (m, b) in enumerate(np.exp(draw.uniform(0, 6, (count, 2))))
    ]


def times(listed: list[Numbers], noise: float = 0.0, odd: float = 0.0) -> np.ndarray:
    draw = np.random.default_rng(1)
    plain = [1.5 * r.terms["call"] + 0.8 * r.terms["macs"] + 1.2 * r.terms["bytes"] for r in listed]
    return np.array(plain) * np.exp([noise * draw.normal() + odd * r.features["odd"] for r in listed])


def test_prices_are_recovered() -> None:
    law = fit_law(rows(300), times(rows(300), 0.03), stage="terms")
    assert law.prices["macs"] == pytest.approx(0.8, rel=0.05)
    assert law.prices["bytes"] == pytest.approx(1.2, rel=0.05)
    new = rows(50, 7)
    assert np.abs(law.predict(new) / times(new) - 1).max() < 0.05


def test_outliers_do_not_matter() -> None:
    spoiled = times(rows(200), 0.03)
    spoiled[::20] /= 300
    law = fit_law(rows(200), spoiled, stage="terms")
    assert np.median(np.abs(law.predict(rows(50, 7)) / times(rows(50, 7)) - 1)) < 0.05


def test_few_samples_keep_the_nominal_proportions() -> None:
    law = fit_law(rows(2), 3 * np.array([sum(r.terms.values()) for r in rows(2)]))
    assert all(price == pytest.approx(3, rel=0.1) for price in law.prices.values())
    assert not law.features


def test_a_feature_is_learned_and_bounded() -> None:
    law = fit_law(rows(200), times(rows(200), 0.02, 0.3))
    new = rows(60, 9)
    assert np.abs(law.predict(new) / times(new, 0, 0.3) - 1).mean() < 0.05
    far = [Numbers(new[0].terms, {"odd": 50.0, "size": 900.0})]
    near = law.at("terms").predict(far)
    assert 0.4 < law.predict(far)[0] / near[0] < 2.5
    assert law.beyond(far).tolist() == [True]
    assert not law.beyond(rows(200)).any()


def test_a_term_never_seen_is_priced_like_the_others() -> None:
    law = Law({"macs": 2.0}, 1.5)
    assert law.predict([Numbers({"macs": 1.0, "new": 2.0})]) == pytest.approx([5.0])


def test_another_number_of_threads_bends_the_law() -> None:
    law = fit_law(rows(200), times(rows(200)), stage="terms")
    seen, new = rows(12, 3), rows(40, 4)
    other = bent(law, seen, 1.4 * law.predict(seen) ** 0.85, np.ones(12))
    assert np.abs(other.predict(new) / (1.4 * law.predict(new) ** 0.85) - 1).max() < 0.15
    one = bent(law, seen[:1], 0.5 * law.predict(seen[:1]), np.ones(1))
    assert 0.5 < one.predict(seen[:1])[0] / law.predict(seen[:1])[0] < 0.9


def test_within_bounds() -> None:
    gram = np.array([[2.0, 0.0], [0.0, 2.0]])
    found = within(gram, np.array([-2.0, 8.0]), np.ones(2), np.array([3.0, 3.0]))
    assert found.tolist() == [0.0, 3.0]


@pytest.mark.parametrize("count", [1, 20, 100])
def test_back_from_json(count: int) -> None:
    law = fit_law(rows(count), times(rows(count), 0.05, 0.2))
    again = Law.from_json(json.loads(json.dumps(law.to_json())))
    assert again.predict(rows(30, 5)) == pytest.approx(law.predict(rows(30, 5)), rel=0.01)
