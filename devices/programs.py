"""The programs of this machine that reach devices: ssh, adb, qemu; found on the PATH, or as the environment says.

`COMPRESS_SSH="ssh -F my_config"` replaces `ssh` by another command line, as GIT_SSH_COMMAND does for git;
`COMPRESS_ADB="adb -P 5038"` does so for adb.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping

from compressor.errors import DeviceError

__all__ = ["WAYS_OUT", "command", "find"]

WAYS_OUT: Mapping[str, str] = {
    "ssh": "Install OpenSSH's client: apt install openssh-client.",
    "adb": "Install Android's debug bridge: apt install adb, or the SDK's platform-tools.",
    "qemu-aarch64-static": "Run `compress devices setup qemu`.",
    "apt-get": "Setting up emulation needs Debian's apt-get and dpkg; run it on a Debian machine or in its container.",
    "dpkg": "Setting up emulation needs Debian's apt-get and dpkg; run it on a Debian machine or in its container.",
}


def command(name: str) -> list[str]:
    """How a program is started. Raises DeviceError where it is not there, with the way to get it."""
    words = _said(name)
    if shutil.which(words[0]) is None:
        raise DeviceError(f"{words[0]} is not on this machine's PATH", where=name, way_out=WAYS_OUT[name])
    return words


def find(name: str) -> str | None:
    """Where a program is, or None."""
    return shutil.which(_said(name)[0])


def _said(name: str) -> list[str]:
    variable = f"COMPRESS_{name.split('-')[0].upper()}"
    try:
        return shlex.split(os.environ.get(variable, "")) or [name] if name in ("ssh", "adb") else [name]
    except ValueError as error:
        raise DeviceError(f"not a command line: {error}", where=variable, way_out="Mend its quotes.") from error
