"""What every transport gets from the interface itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from compressor.devices.device import Description, Device, Finished


class Closing(Device):
    url = "closing"
    closed = 0

    def push(self, *_: Any, **__: Any) -> None: ...

    def pull(self, *_: Any, **__: Any) -> None: ...

    def run(self, *_: Any, **__: Any) -> Finished:
        return Finished(0, "", "")

    def describe(self) -> Description:
        return Description("Linux", "aarch64", "", 4, 0, "")

    @contextlib.contextmanager
    def folder(self) -> Iterator[str]:
        yield "/tmp/x"

    def discard(self, folder: str) -> None: ...

    def close(self) -> None:
        self.closed += 1


def test_leaving_the_block_closes_it_after_an_error_too() -> None:
    device = Closing()

    def fails() -> None:
        with device as same:
            assert same is device
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert device.closed == 1


def test_a_transport_that_lacks_a_method_cannot_be_made() -> None:
    class Half(Device):
        url = "half"

    with pytest.raises(TypeError, match="push"):
        Half()  # type: ignore[abstract]
