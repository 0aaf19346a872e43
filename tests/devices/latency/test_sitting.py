"""A sitting: every network is visited once a pass, a lost device is gone on with, other states do not count."""

from __future__ import annotations

from pathlib import Path

import pytest
from lowered_networks import QUICK, small
from own_device import OwnDevice

from compressor.devices.latency.sitting import Item, Sitting, steady
from compressor.devices.latency.subject import Subject
from compressor.devices.remote import on_device
from compressor.errors import DeviceLostError


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> list[Subject]:
    folder = tmp_path_factory.mktemp("subjects")
    return [small(folder, "reference"), small(folder, "one"), small(folder, "two", width=16)]


def test_each_pass_visits_all_and_profiled_ones_know_their_calls(subjects: list[Subject], tmp_path: Path) -> None:
    device = OwnDevice()
    items = [Item(subjects[1], nodes=True), Item(subjects[2])]
    with on_device(device) as remote:
        sitting = Sitting(device, remote, subjects[0], QUICK, tmp_path)
        sitting.visit(items, 0, profiled=True)
        sitting.visit(items, 1)
        found = sitting.measured()
        assert sitting.seconds(found) > 0
    assert device.tasks == ["visits", "visits"]
    assert set(found) == {"one@1", "two@1"}
    assert all(each.microseconds > 0 for each in found.values())
    calls = {call.name for call in subjects[1].calls}
    assert {node.call for node in found["one@1"].nodes} <= calls
    assert any("Conv" in node.type for node in found["one@1"].nodes)
    assert found["two@1"].nodes == (), "its nodes were not asked for"
    odd = sitting.measured(lambda number: number == 1)
    assert odd["one@1"].nodes == ()


def test_a_lost_device_is_gone_on_with(subjects: list[Subject], tmp_path: Path) -> None:
    items = [Item(subjects[1]), Item(subjects[2])]
    lost = OwnDevice(lost_after=1)
    with on_device(lost) as remote, pytest.raises(DeviceLostError):
        Sitting(lost, remote, subjects[0], QUICK, tmp_path).visit(items, 0)
    back = OwnDevice()
    with on_device(back) as remote:
        sitting = Sitting(back, remote, subjects[0], QUICK, tmp_path)
        assert len(sitting.journal.named("visit")) == 1
        sitting.visit(items, 0)
        assert len(sitting.journal.named("visit")) == 2
        sitting.end()
    assert not list(tmp_path.glob("*.jsonl"))


def test_what_does_not_run_is_told_and_left_alone(subjects: list[Subject], tmp_path: Path) -> None:
    broken = small(tmp_path, "broken")
    broken.model.write_bytes(b"no model")
    device = OwnDevice()
    with on_device(device) as remote:
        sitting = Sitting(device, remote, subjects[0], QUICK)
        for number in range(2):
            sitting.visit([Item(broken), Item(subjects[1])], number)
    assert list(sitting.failures()) == ["broken@1"]
    assert sitting.failures()["broken@1"].startswith("load: ")
    assert set(sitting.measured()) == {"one@1"}
    assert len(sitting.journal.named("failed")) == 1


def test_blocks_of_another_state_do_not_count() -> None:
    usual = [[10.0, 2.0, 2.0]] * 4
    assert steady([*usual, [6.0, 1.6, 1.6], [10.0, 2.0, 1.6]], 2.0) == [10.0] * 4
    assert steady([[10.5, 2.1, 2.1]] * 4, 2.0) == pytest.approx([10.0] * 4)
    assert len(steady([*usual[:3], [6.0, 1.5, 1.5]], 2.0)) == 4, "with so few, all count, brought to the usual state"
