"""What `--device` reaches in tests: this machine, which can be lost or emulated, measured as shortly as can be."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from own_device import OwnDevice

from compressor import board
from compressor.devices.bench import Limits

__all__ = ["QUICK", "given"]

QUICK = partial(Limits, seconds=0.0, runs=3, warmup=0.0, energy=0.01)


def given(monkeypatch: pytest.MonkeyPatch, device: OwnDevice | Callable[[], OwnDevice]) -> None:
    """Whatever URL is opened is this device, or what a function makes of it each time."""
    monkeypatch.setattr(board, "open_device", lambda url: device() if callable(device) else device)
    monkeypatch.setattr(board, "Limits", QUICK)
