"""Few-shot transfer on matrices whose answer is known: recovered, with honest intervals, from few sources or many."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from compressor.devices.latency.boards.table import Floats, LatencyTable
from compressor.devices.latency.boards.transfer import Transfer
from compressor.errors import InputError

MODELS = tuple(f"m{i:02}" for i in range(20))


def low_rank(boards: int, seed: int, noise: float = 0.02) -> tuple[LatencyTable, Floats]:
    """log t = size + speed + two factors + noise; the table of all but the last board, and that board's column."""
    rng = np.random.default_rng(seed)
    loadings, size = rng.normal(size=(len(MODELS), 2)) * 0.3, rng.uniform(0, 4, len(MODELS))
    factors, speed = rng.normal(size=(2, boards + 1)), rng.normal(size=boards + 1)
    logs = size[:, None] + speed + loadings @ factors + noise * rng.normal(size=(len(MODELS), boards + 1))
    names = tuple(f"board {j}" for j in range(boards))
    return LatencyTable(MODELS, names, names, np.exp(logs[:, :-1])), np.exp(logs[:, -1])


@functools.cache
def many() -> tuple[Transfer, dict[str, float]]:
    table, answer = low_rank(boards=16, seed=0)
    return Transfer(table), dict(zip(MODELS, answer.tolist(), strict=True))


def errors(transfer: Transfer, truth: dict[str, float], samples: tuple[str, ...]) -> Floats:
    predicted = transfer.predict({model: truth[model] for model in samples})
    return np.array([predicted[m].milliseconds / truth[m] - 1 for m in truth if m not in samples])


def test_two_factors_and_a_speed_are_found_from_five_samples() -> None:
    transfer, truth = many()
    found = errors(transfer, truth, transfer.choose(5))
    assert np.abs(found).max() < 0.15
    assert np.mean(np.abs(found) < 0.1) >= 0.8
    scaled = np.array(list(truth.values())) / transfer.table.milliseconds[:, 0]
    assert np.mean(np.abs(scaled / np.median(scaled) - 1) < 0.1) < 0.5  # one scale from one device does not


def test_chosen_samples_do_better_than_the_mean_of_random_ones() -> None:
    transfer, truth = many()
    rng = np.random.default_rng(1)
    random = [errors(transfer, truth, tuple(rng.permutation(MODELS)[:3].tolist())) for _ in range(12)]
    chosen = errors(transfer, truth, transfer.choose(3))
    assert np.abs(chosen).mean() < np.mean([np.abs(each).mean() for each in random])


def test_a_sample_comes_back_as_it_was_measured_and_surely() -> None:
    transfer, truth = many()
    samples = transfer.choose(4)
    predicted = transfer.predict({model: truth[model] for model in samples})
    for model in samples:
        assert predicted[model].milliseconds == pytest.approx(truth[model], rel=0.06)
    wide = {model: each.high / each.low for model, each in predicted.items()}
    assert max(wide[model] for model in samples) < np.median([wide[m] for m in MODELS if m not in samples])


def test_intervals_hold_about_nine_times_in_ten() -> None:
    held: list[bool] = []
    for seed in range(10):
        table, answer = low_rank(boards=16, seed=seed + 10, noise=0.05)
        transfer, truth = Transfer(table), dict(zip(MODELS, answer.tolist(), strict=True))
        samples = transfer.choose(5)
        predicted = transfer.predict({model: truth[model] for model in samples})
        held += [predicted[m].low <= truth[m] <= predicted[m].high for m in MODELS if m not in samples]
    assert 0.8 <= np.mean(held) <= 0.99


def test_holes_in_the_table_are_bridged() -> None:
    table, answer = low_rank(boards=16, seed=0)
    holed = table.milliseconds.copy()
    holed[np.random.default_rng(2).random(holed.shape) < 0.2] = np.nan
    transfer = Transfer(LatencyTable(MODELS, table.devices, table.boards, holed))
    found = errors(transfer, dict(zip(MODELS, answer.tolist(), strict=True)), transfer.choose(6))
    assert np.mean(np.abs(found) < 0.1) >= 0.7


def test_one_source_device_and_work_give_an_affine_law_by_format() -> None:
    """The new board is 5 times slower in fp32, 2 times in int8, and slower where the source computes fast."""
    rng = np.random.default_rng(3)
    models = tuple(f"m{i}" for i in range(40))
    source, rate = rng.uniform(0, 4, 40), rng.normal(size=40) * 0.5
    int8 = np.arange(40) % 2 == 1
    answer = source + np.where(int8, np.log(2), np.log(5)) + 0.2 * rate
    table = LatencyTable(models, ("x",), ("x",), np.exp(source)[:, None])
    work = {m: [float(np.exp(s + r))] for m, s, r in zip(models, source, rate, strict=True)}
    formats = {m: "int8" if is8 else "fp32" for m, is8 in zip(models, int8, strict=True)}
    truth = dict(zip(models, np.exp(answer).tolist(), strict=True))
    transfer = Transfer(table, work=work, formats=formats)
    samples = transfer.choose(8)
    assert {formats[model] for model in samples} == {"fp32", "int8"}
    assert np.mean(np.abs(errors(transfer, truth, samples)) < 0.1) > 0.9
    without = Transfer(table)
    assert np.mean(np.abs(errors(without, truth, samples)) < 0.1) < 0.5


def test_columns_of_one_board_are_no_evidence_about_another() -> None:
    """Three repeats of one board agree to 1%; the interval must not think that a new board will."""
    rng = np.random.default_rng(4)
    size = rng.uniform(0, 3, len(MODELS))
    repeats = np.exp(size[:, None] + 0.01 * rng.normal(size=(len(MODELS), 3)))
    transfer = Transfer(LatencyTable(MODELS, ("1", "2", "3"), ("pi", "pi", "pi"), repeats))
    predicted = transfer.predict({"m00": float(2 * repeats[0, 0])})
    assert all(each.high / each.low > 1.2 for model, each in predicted.items() if model != "m00")
    assert predicted["m05"].milliseconds == pytest.approx(2 * np.exp(size[5]), rel=0.3)


def test_the_nearest_device_is_the_one_of_the_same_shape_whatever_its_speed() -> None:
    table, _ = low_rank(boards=10, seed=5)
    twin = {model: 7.0 * value for model, value in list(table.column("board 6").items())[:6]}
    assert Transfer(table).nearest(twin) == "board 6"


def test_a_choice_may_be_narrowed_and_is_refused_when_there_are_too_few() -> None:
    transfer, _ = many()
    assert set(transfer.choose(3, among=MODELS[:5])) <= set(MODELS[:5])
    assert transfer.choose(3) == transfer.choose(5)[:3]
    assert len(set(transfer.choose(len(MODELS)))) == len(MODELS)
    with pytest.raises(InputError, match="6 models of 5"):
        transfer.choose(6, among=MODELS[:5])
    with pytest.raises(InputError, match="0 models of 20"):
        transfer.choose(0)
    with pytest.raises(InputError, match="no source latency for 'm99'"):
        transfer.choose(1, among=["m99"])


def test_bad_samples_and_side_information_are_refused() -> None:
    transfer, _ = many()
    for samples, message in (
        ({}, "no measurements"), ({"m00": float("nan")}, "is nan ms"), ({"m00": 0.0}, "is 0.0 ms"),
        ({"m00": -3.0}, "is -3.0 ms"), ({"x": 1.0}, "no source latency for 'x'"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            transfer.predict(samples)
    table, _ = low_rank(boards=2, seed=6)
    fine = {model: [1.0, 2.0] for model in MODELS}
    with pytest.raises(InputError, match="no work of 'm03'"):
        Transfer(table, work={model: value for model, value in fine.items() if model != "m03"})
    with pytest.raises(InputError, match="different kinds of work"):
        Transfer(table, work={**fine, "m03": [1.0]})
    with pytest.raises(InputError, match="work of 'm03' is not positive"):
        Transfer(table, work={**fine, "m03": [1.0, 0.0]})
    with pytest.raises(InputError, match="no format of 'm00'"):
        Transfer(table, formats={})
