"""URLs open the device that they name."""

from __future__ import annotations

import pytest

from compressor.devices.opening import open_device
from compressor.errors import DeviceError


def test_this_machine() -> None:
    with open_device("local") as device:
        assert device.describe().cores >= 1


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(DeviceError):
        open_device("carrier-pigeon://coop")
