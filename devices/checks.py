"""What may be given to a device at all; each transport asks before anything is sent."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence

from compressor.errors import DeviceError

__all__ = ["checked_environment", "checked_path", "checked_program", "checked_temporary"]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TEMPORARY = re.compile(r"compress-\w[\w-]*")


def checked_program(program: Sequence[str]) -> Sequence[str]:
    """The program. Raises DeviceError where its name would be an option, or an argument cannot be passed on."""
    if not program or not program[0] or program[0].startswith("-"):
        raise DeviceError(f"{program[0] if program else ''!r} is not a program", way_out="Give its name or path.")
    if any("\0" in word for word in program):
        raise DeviceError("an argument holds a zero byte, which no program can be given", where=program[0])
    return program


def checked_path(path: str, where: str) -> str:
    """The path. Raises DeviceError where it is not a plain absolute one."""
    if not path.startswith("/") or "\0" in path or posixpath.basename(path) in ("", ".", ".."):
        raise DeviceError(f"{path!r} is not an absolute path on the device", where=where)
    return path


def checked_temporary(folder: str, where: str) -> str:
    """The folder. Raises DeviceError where its name is not of those that are made for a run."""
    if not _TEMPORARY.fullmatch(posixpath.basename(checked_path(folder, where))):
        raise DeviceError(f"{folder!r} is not a folder that was made for a run", where=where)
    return folder


def checked_environment(environment: Mapping[str, str] | None) -> Mapping[str, str]:
    """The variables, none for None. Raises DeviceError where a name is not a variable's, or a value cannot be one's."""
    for name, value in (environment or {}).items():
        if not _VARIABLE.fullmatch(name):
            raise DeviceError(f"{name!r} is not an environment variable's name")
        if "\0" in value:
            raise DeviceError("an environment variable holds a zero byte", where=name)
    return environment or {}
