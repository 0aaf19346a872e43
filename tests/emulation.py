"""The emulated root for tests marked `emulated`: the user's own where it is set up, else one for this session."""

from __future__ import annotations

import os

import pytest

from compressor.devices.emulation.root import Root, find_root
from compressor.devices.emulation.setup import set_up
from compressor.errors import DeviceError

__all__ = ["emulated_root"]


def emulated_root(factory: pytest.TempPathFactory) -> Root:
    """A root that is set up. Skips with the reason where it cannot be."""
    if (root := find_root()) is not None:
        return root
    os.environ["COMPRESS_QEMU"] = str(factory.mktemp("emulated") / "qemu")
    try:
        return set_up(force=False, sources=None, say=lambda _: None)
    except DeviceError as error:
        del os.environ["COMPRESS_QEMU"]
        pytest.skip(f"emulated Arm cannot be set up: {error}")
