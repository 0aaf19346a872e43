"""From a URL or a saved name to a device."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from compressor.devices import opening
from compressor.devices.address import KINDS
from compressor.devices.device import Device
from compressor.devices.opening import find_address, open_device
from compressor.devices.registry import add
from compressor.devices.transports.local import LocalDevice
from compressor.errors import DeviceError


@pytest.fixture(autouse=True)
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESS_CONFIG", str(tmp_path))


def test_a_saved_name_is_its_url() -> None:
    add("kitchen", "ssh://pi@board:2222")
    assert find_address("kitchen").port == 2222
    add("here", "local")
    with open_device("here") as device:
        assert isinstance(device, LocalDevice)


def test_an_unknown_name_is_told_the_nearest() -> None:
    add("kitchen", "ssh://pi@board")
    with pytest.raises(DeviceError, match=r"'kitchn'.*\n.*Did you mean kitchen.*compress devices"):
        open_device("kitchn")


def test_a_bad_url_is_refused() -> None:
    with pytest.raises(DeviceError, match="host's name"):
        open_device("ssh://-x")


def test_a_saved_url_that_was_spoiled_by_hand_is_refused(tmp_path: Path) -> None:
    (tmp_path / "devices.toml").write_text('[devices]\npi = "rpc://10.0.0.1:9090"\n', encoding="utf-8")
    with pytest.raises(DeviceError, match="no authentication"):
        open_device("pi")


def test_every_kind_has_a_transport() -> None:
    assert tuple(opening._TRANSPORTS) == KINDS
    for place in opening._TRANSPORTS.values():
        module, _, name = place.partition(":")
        assert issubclass(getattr(importlib.import_module(module), name), Device)


def test_opening_loads_nothing_heavy() -> None:
    code = "import sys; from compressor.devices.opening import open_device; open_device('local'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "onnxruntime", "numpy", "tvm"}.isdisjoint(done.stdout.split())
