"""An Android device reached by the real `adb` client: its sync protocol for files, shell v2 for programs."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import IO

from compressor.devices.address import Address
from compressor.devices.checks import checked_path
from compressor.devices.files import finished_pull
from compressor.devices.processes import Ended, Lines, execute
from compressor.devices.programs import command
from compressor.devices.shell import ShellDevice
from compressor.errors import DeviceError, DeviceLostError

__all__ = ["ADBDevice", "attached"]

_SHORT = 30.0  # seconds; the first call starts adb's server
_WAYS_OUT = {
    "unauthorized": "Unlock the device and allow this computer's key.",
    "offline": "Plug it in again, or `adb reconnect`.",
    "not found": "`adb devices` lists what is attached; `adb connect host:port` adds one by network.",
}


class ADBDevice(ShellDevice):
    """A device with USB debugging on, Android 7 or newer. Raises DeviceError where it is not attached."""

    temporary = "/data/local/tmp"  # the one folder that the shell's user may write to and execute from

    def __init__(self, address: Address) -> None:
        self.url = address.url
        self.python = (address.options.get("python", "python3"),)
        self._adb = [*command("adb"), "-s", address.host]
        state = self._client("get-state", timeout=_SHORT)
        if state.status:
            said = state.stderr.strip().splitlines()[-1:] or ["it does not answer"]
            hint = next((text for words, text in _WAYS_OUT.items() if words in said[0]), _WAYS_OUT["not found"])
            raise DeviceError(f"cannot be reached: {said[0].removeprefix('error: ')}", where=self.url, way_out=hint)
        features = Lines()
        self._client("features", timeout=_SHORT, said=features)
        if "shell_v2" not in features.text.split():
            way_out = "Android 7 (2016) is the oldest that tells a program's exit status."
            raise DeviceError("its adb has no shell v2", where=self.url, way_out=way_out)

    def push(self, source: Path, destination: str, *, timeout: float = 600.0) -> None:
        path = source.absolute()
        if not path.exists():
            raise DeviceError("cannot be read: no such file or folder", where=str(source))
        # "/." copies what is in the folder, whether the destination is there already or not
        if path.is_dir():
            self._make(checked_path(destination, self.url))
            self._transfer("push", f"{path}/.", destination, timeout=timeout)
        else:
            self._transfer("push", str(path), checked_path(destination, self.url), timeout=timeout)

    def pull(self, source: str, destination: Path, *, timeout: float = 600.0) -> None:
        with finished_pull(destination) as (path, _):
            self._transfer("pull", checked_path(source, self.url), str(path), timeout=timeout)

    def _make(self, folder: str) -> None:
        done = self._script(f"mkdir -p {shlex.quote(folder)}; status=$?; ", Lines(), timeout=_SHORT)
        if done.status:
            raise DeviceError(f"{folder} cannot be made: {done.stderr.strip()}", where=self.url)

    def _transfer(self, verb: str, source: str, destination: str, *, timeout: float) -> None:
        ended = self._client(verb, "--", source, destination, timeout=timeout)
        if not ended.status:
            return
        # the words of a lost device differ by what was being sent; whether it is there still, the client knows
        lost = bool(self._client("get-state", timeout=_SHORT).status)
        kind, way_out = (DeviceLostError, "at the cable") if lost else (DeviceError, "at the room there")
        raise kind(f"adb {verb} failed: {ended.stderr.strip()}", where=self.url, way_out=f"Look {way_out}.")

    def _client(self, *arguments: str, timeout: float, said: Lines | None = None) -> Ended:
        """Run the client. What push and pull have to say of a failure comes on stdout or stderr."""
        lines = said or Lines()
        ended = execute([*self._adb, *arguments], timeout=timeout, on_stdout=lines.feed, where=self.url)
        return ended if said else Ended(ended.status, (lines.text + ended.stderr).strip())

    def _execute(
        self,
        line: str,
        *,
        timeout: float,
        on_stdout: Callable[[bytes], None],
        feed: Callable[[IO[bytes]], None] | None = None,
    ) -> Ended:
        argv = [*self._adb, "shell", "-T", line]
        return execute(argv, timeout=timeout, on_stdout=on_stdout, feed=feed, where=self.url)


def attached() -> dict[str, str]:
    """The state of each attached device by serial: "device" when it can be used. Raises DeviceError without adb."""
    lines = Lines()
    ended = execute([*command("adb"), "devices"], timeout=_SHORT, on_stdout=lines.feed, where="adb")
    if ended.status:
        raise DeviceError(f"adb lists no devices: {ended.stderr.strip()}", where="adb", way_out="Try `adb devices`.")
    rows = [line.split("\t") for line in lines.text.splitlines() if "\t" in line]
    return {serial: state for serial, state, *_ in rows}
