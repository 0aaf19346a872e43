"""Names for devices, kept in `devices.toml` in the user's configuration folder (`COMPRESS_CONFIG` moves it).

[devices]
kitchen-pi = "ssh://pi@kitchen.local"
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import tomllib
from pathlib import Path

from compressor.devices.address import KINDS, parse_address
from compressor.errors import DeviceError, did_you_mean

__all__ = ["add", "config_file", "remove", "saved"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def config_file() -> Path:
    """Where the names are kept."""
    import platformdirs

    return Path(os.environ.get("COMPRESS_CONFIG") or platformdirs.user_config_dir("edge-compressor")) / "devices.toml"


def saved() -> dict[str, str]:
    """URLs by name, in the order of the names. Raises DeviceError where the file cannot be read as such."""
    file = config_file()
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8")).get("devices", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise DeviceError(f"cannot be read: {error}", where=str(file), way_out="Mend or remove the file.") from error
    if not isinstance(table, dict) or not all(isinstance(url, str) for url in table.values()):
        way_out = 'It holds [devices] with lines such as name = "ssh://user@host".'
        raise DeviceError("not a list of names and URLs", where=str(file), way_out=way_out)
    return dict(sorted(table.items()))


def add(name: str, url: str) -> bool:
    """Save a name; whether it was new. Raises DeviceError for a name or URL that will not do."""
    if not _NAME.fullmatch(name) or name in KINDS:
        way_out = f"Letters, digits, '-', '_' and '.', up to 64, and none of {', '.join(KINDS)}."
        raise DeviceError(f"{name!r} cannot name a device", way_out=way_out)
    parse_address(url)
    names = saved()
    _write({**names, name: url})
    return name not in names


def remove(name: str) -> str:
    """Forget a name; the URL it had. Raises DeviceError for an unknown one."""
    names = saved()
    if name not in names:
        way_out = did_you_mean(name, [*names]) if names else "No names are saved."
        raise DeviceError(f"no device is saved as {name!r}", way_out=way_out)
    url = names.pop(name)
    _write(names)
    return url


def _write(names: dict[str, str]) -> None:
    import tomli_w

    file = config_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".devices-", dir=file.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                tomli_w.dump({"devices": dict(sorted(names.items()))}, stream)
            os.replace(temporary, file)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
    except OSError as error:
        way_out = "Set COMPRESS_CONFIG to a folder that can be written to."
        raise DeviceError(f"cannot be written: {error.strerror}", where=str(file), way_out=way_out) from error
