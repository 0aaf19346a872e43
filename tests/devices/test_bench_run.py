"""What was finished before the device was lost is kept, and only the rest is done."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from own_device import OwnDevice

from compressor.devices.bench import bench
from compressor.devices.bench_run import Limits
from compressor.devices.device import Finished
from compressor.devices.side_by_side import LEAST_ROUNDS
from compressor.errors import DeviceError, DeviceLostError
from compressor.graph.contract import Progress

QUICK = Limits(seconds=0.0, runs=3, warmup=0.0, energy=0.01, threads=1)


class Heard(Progress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def pair(digits_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    other = tmp_path_factory.mktemp("bundles") / "other"
    shutil.copytree(digits_bundle, other)
    return [digits_bundle, other]


@pytest.mark.parametrize("lines", [0, 2, 5, 8])
def test_a_lost_device_costs_only_what_was_not_finished(pair: list[Path], tmp_path: Path, lines: int) -> None:
    """Lines: description, 2 golden, done; loaded, done; loaded, done; state, rounds, …"""
    with pytest.raises(DeviceLostError) as lost:
        bench(OwnDevice(lost_after=lines), pair, QUICK, folder=tmp_path)
    assert ("goes on" in str(lost.value)) == (lines > 0)
    device, progress = OwnDevice(), Heard()
    found = bench(device, pair, QUICK, folder=tmp_path, progress=progress)
    expected = Counter({"check": lines < 3, "load": (lines < 5) + (lines < 7), "rounds": 1})
    assert Counter(device.tasks) == +expected
    assert any("going on" in text for text in progress.said) == (lines > 0)
    assert all(each.runs >= 3 for each in found.figures)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_given_twice_is_two(pair: list[Path]) -> None:
    """Whatever its path is: figures, errors and comparisons are told apart by name."""
    found = bench(OwnDevice(), [pair[0], pair[1], pair[0]], QUICK)
    names = [f"{pair[0].name} (1)", f"{pair[1].name} (2)", f"{pair[0].name} (3)"]
    assert [each.name for each in found.figures] == [each.name for each in found.cycles] == list(found.errors) == names
    assert [(each.baseline, each.name) for each in found.comparisons] == [(names[0], names[1]), (names[0], names[2])]


def test_folders_of_one_name_are_called_by_their_paths(pair: list[Path], tmp_path: Path) -> None:
    shutil.copytree(pair[0], tmp_path / pair[0].name)
    found = bench(OwnDevice(), [pair[0], tmp_path / pair[0].name], QUICK)
    assert [each.name for each in found.figures] == [str(pair[0]), str(tmp_path / pair[0].name)]


def test_there_are_rounds_enough_for_an_interval_however_little_time_is_given(pair: list[Path], tmp_path: Path) -> None:
    found = bench(OwnDevice(), pair, QUICK)
    assert all(len(each.rounds) >= LEAST_ROUNDS for each in found.figures)
    with pytest.raises(DeviceLostError):
        bench(OwnDevice(lost_after=11), pair, QUICK, folder=tmp_path)  # state and two rounds
    found = bench(OwnDevice(), pair, QUICK, folder=tmp_path)
    assert [len(each.rounds) for each in found.figures] == [LEAST_ROUNDS, LEAST_ROUNDS], "of both attempts together"


def test_finished_rounds_and_loads_are_kept(pair: list[Path], tmp_path: Path) -> None:
    limits = Limits(seconds=0.15, runs=3, warmup=0.0, threads=1)
    with pytest.raises(DeviceLostError):
        bench(OwnDevice(lost_after=11), pair, limits, folder=tmp_path)  # state and two rounds
    [state] = tmp_path.iterdir()
    events = [json.loads(line) for line in state.read_text().splitlines()]
    rounds = {event["index"]: event for event in events if event["event"] == "round"}
    loads = {event["id"]: event["load_ms"] for event in events if event["event"] == "loaded"}
    assert set(rounds) == {0, 1}
    found = bench(OwnDevice(), pair, limits, folder=tmp_path)
    for name, each in zip(("0", "1"), found.figures, strict=True):
        assert each.load_ms == loads[name]
        assert each.rounds[0] == rounds[0]["blocks"][name]["median_ms"]
        assert sorted(each.rounds) == list(range(len(each.rounds))), "the numbers go on"
        assert each.runs >= sum(rounds[index]["blocks"][name]["runs"] for index in rounds)


def test_other_options_or_bundles_do_not_go_on(pair: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DeviceLostError):
        bench(OwnDevice(lost_after=1), pair, QUICK, folder=tmp_path)
    for bundles, limits, url, same in (
        (pair[:1], QUICK, "own", False),
        (pair, Limits(seconds=0.0, runs=4, warmup=0.0, threads=1), "own", False),
        (pair, QUICK, "another", False),
        (pair, QUICK, "own", True),
    ):
        progress = Heard()
        with pytest.raises(DeviceLostError):
            bench(OwnDevice(url=url, lost_after=0), bundles, limits, folder=tmp_path, progress=progress)
        assert any("going on" in text for text in progress.said) == same


class Edited(OwnDevice):
    """Whose runner's lines are changed on the way."""

    def edit(self, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Edited:
        self.change = change
        return self

    def run(self, *program: Any, on_line: Callable[[str], None] | None = None, **options: Any) -> Finished:
        def listen(line: str) -> None:
            event = self.change(json.loads(line))
            if on_line is not None and event is not None:
                on_line(json.dumps(event))

        return super().run(*program, on_line=listen, **options)


@pytest.mark.parametrize("name", ["description", "golden", "loaded", "round"])
def test_a_runner_that_leaves_something_out_is_told_and_not_gone_on_with(
    pair: list[Path], tmp_path: Path, name: str
) -> None:
    device = Edited().edit(lambda event: None if event["event"] == name else event)
    with pytest.raises(DeviceError, match=f"left out some of {pair[0].name}"):
        bench(device, pair, QUICK, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("errors", [{}, {"another": 0.0}])
def test_an_output_that_was_not_compared_is_not_taken_for_right(pair: list[Path], errors: dict[str, float]) -> None:
    device = Edited().edit(lambda event: {**event, "errors": errors} if event["event"] == "golden" else event)
    with pytest.raises(DeviceError, match="left out"):
        bench(device, pair, QUICK)
    assert device.tasks == ["check"]


def test_times_without_single_runs_or_of_another_bundle_are_told(pair: list[Path]) -> None:
    def without(event: dict[str, Any]) -> dict[str, Any]:
        for block in event.get("blocks", {}).values():
            block.pop("sample_ms")
        return event

    def one(event: dict[str, Any]) -> dict[str, Any]:
        event.get("blocks", {}).pop("1", None)
        return event

    for change, name in ((without, pair[0].name), (one, pair[1].name)):
        with pytest.raises(DeviceError, match=f"left out some of {name}"):
            bench(Edited().edit(change), pair, QUICK)


def test_a_journal_without_the_description_is_checked_anew(pair: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DeviceLostError):
        bench(OwnDevice(lost_after=5), pair, QUICK, folder=tmp_path)
    [state] = tmp_path.iterdir()
    lines = [line for line in state.read_text().splitlines() if '"description"' not in line]
    state.write_text("".join(f"{line}\n" for line in lines))
    device = OwnDevice()
    assert bench(device, pair, QUICK, folder=tmp_path).versions["python"]
    assert device.tasks[0] == "check"
