"""An Android device on loopback: the real `adb` client speaks to a stand-in (`devices/adb_server.py`)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from debian import libraries, program
from loopback_ssh import free_port

__all__ = ["SERIAL", "StandIn", "plugged_in"]

SERIAL = "emulator-5554"
FEATURES = ("shell_v2", "cmd", "fixed_push_mkdir")
_SERVER = Path(__file__).resolve().parent / "devices" / "adb_server.py"
_PACKAGES = ("adb", "android-libbase", "android-libboringssl", "android-libcutils", "android-liblog", "libusb-1.0-0")


class StandIn:
    """A running server. `storage` is the device's /data/local/tmp, `environment` what leads the client to it."""

    url = f"adb://{SERIAL}"

    def __init__(self, client: Path, home: Path, features: tuple[str, ...]) -> None:
        self.port, self.storage = free_port(), home / "storage"
        self.storage.mkdir()
        command = [sys.executable, str(_SERVER), str(self.port), SERIAL, str(self.storage), *features]
        self.process = subprocess.Popen(command, start_new_session=True)
        self.environment = {"COMPRESS_ADB": f"{client} -P {self.port}", "HOME": str(home)}
        if not client.is_relative_to("/usr"):
            self.environment["LD_LIBRARY_PATH"] = libraries(client.parents[2])
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("the stand-in does not listen")

    def replug(self) -> None:
        """Pull the device's cable, or plug it in again."""
        os.kill(self.process.pid, signal.SIGUSR1)
        time.sleep(0.1)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def plugged_in(*features: str) -> Iterator[StandIn]:
    """A device and adb's server, in a home of their own. Skips where there is no client to be had."""
    client = program("adb", _PACKAGES)
    with tempfile.TemporaryDirectory(prefix="compress-adb-") as home:
        stand_in = StandIn(client, Path(home), features or FEATURES)
        try:
            yield stand_in
        finally:
            stand_in.stop()
