"""This machine as a device."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator

import pytest
from transport_contract import Contract

from compressor.devices.device import Device
from compressor.devices.opening import open_device


class TestLocal(Contract):
    @pytest.fixture
    def device(self) -> Iterator[Device]:
        with open_device("local") as device:
            yield device


def test_it_describes_this_machine() -> None:
    with open_device("local") as device:
        found = device.describe()
        assert tuple(device.python) == (sys.executable,)
    assert (found.system, found.arch) == (platform.system(), platform.machine())
    assert found.python == platform.python_version()
    assert found.runtimes["numpy"]
    assert found.timed
