"""What a device's URL says, and what it must not.

    local · ssh://[user@]host[:port] · adb://serial · rpc://host:port[/key] · qemu://cortex-a76

`?python=/path` names the Python of a device that is reached by ssh, adb or RPC; `?via=ssh://user@host` takes RPC
through an ssh tunnel. No part may begin with a dash: it would be taken for an option.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from compressor.errors import DeviceError, did_you_mean

__all__ = ["FORMS", "KINDS", "LOOPBACK", "Address", "parse_address"]

KINDS = ("local", "ssh", "adb", "rpc", "qemu")
FORMS = "local, ssh://user@host[:port], adb://serial, rpc://host:port/key, qemu://cortex-a76"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_OPTIONS: Mapping[str, tuple[str, ...]] = {"ssh": ("python",), "adb": ("python",), "rpc": ("python", "via")}
_URL = re.compile(r"(?P<kind>[a-z]+)://(?P<rest>[^?#\s]*)(?:\?(?P<query>[^#\s]*))?")
_PLACE = re.compile(
    r"(?:(?P<user>[^@]*)@)?(?:\[(?P<six>[^\]]*)\]|(?P<host>[^:/]*))(?::(?P<port>[^/]*))?(?:/(?P<key>.*))?"
)
_HOST = re.compile(r"[A-Za-z0-9_.:%][A-Za-z0-9_.:%-]*")
_WORD = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.+-]*")
_PROGRAM = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./+-]*")


@dataclass(frozen=True)
class Address:
    """A parsed URL: `host` is the serial of adb and the CPU of qemu; `port` 0 where none is given."""

    url: str
    kind: str
    host: str = ""
    user: str = ""
    port: int = 0
    key: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


def parse_address(url: str) -> Address:
    """Take a URL apart. Raises DeviceError with what is wrong in it."""
    if url == "local":
        return Address(url, "local")
    match = _URL.fullmatch(url)
    if match is None:
        raise _wrong(url, "not a device's URL")
    kind = match["kind"]
    if kind not in KINDS or kind == "local":
        raise DeviceError(f"unknown kind {kind!r}", where=url, way_out=f"{did_you_mean(kind, [*KINDS])} URLs: {FORMS}.")
    options = _options(url, kind, match["query"] or "")
    parse = {"ssh": _ssh, "adb": _adb, "rpc": _rpc, "qemu": _qemu}[kind]
    return parse(url, match["rest"], options)


def _ssh(url: str, rest: str, options: Mapping[str, str]) -> Address:
    match = _PLACE.fullmatch(rest)
    if match is None or match["key"]:
        raise _wrong(url, "not ssh://[user@]host[:port]")
    user = match["user"]
    if user is not None and ":" in user:
        raise DeviceError(
            "a password in a URL would be stored and shown", where=_without_password(url),
            way_out="Use a key: ssh-copy-id user@host, then ssh://user@host.",
        )  # fmt: skip
    if user is not None and not _WORD.fullmatch(user):
        raise _wrong(url, f"{user!r} is not a user's name")
    return Address(url, "ssh", _host(url, match), user or "", _port(url, match["port"], least=0), options=options)


def _adb(url: str, rest: str, options: Mapping[str, str]) -> Address:
    if not rest or not _HOST.fullmatch(rest):
        raise DeviceError(f"{rest!r} is not a serial", where=url, way_out="`adb devices` lists the serials.")
    return Address(url, "adb", rest, options=options)


def _rpc(url: str, rest: str, options: Mapping[str, str]) -> Address:
    match = _PLACE.fullmatch(rest)
    if match is None or match["user"] is not None:
        raise _wrong(url, "not rpc://host:port[/key]")
    host, port, key = _host(url, match), _port(url, match["port"], least=1), match["key"] or ""
    if key and not _WORD.fullmatch(key):
        raise _wrong(url, f"{key!r} is not a plain key")
    if "via" in options:
        if parse_address(options["via"]).kind != "ssh":
            raise _wrong(url, "via= takes an ssh:// URL")
    elif host not in LOOPBACK:
        raise DeviceError(
            "TVM's RPC has no authentication: anyone on that network could run programs there", where=url,
            way_out=f"Go through ssh: rpc://localhost:{port}{'/' + key if key else ''}?via=ssh://user@{host}",
        )  # fmt: skip
    return Address(url, "rpc", host, "", port, key, options)


def _qemu(url: str, rest: str, options: Mapping[str, str]) -> Address:
    if not _WORD.fullmatch(rest):
        raise _wrong(url, f"{rest!r} is not a CPU's name")
    return Address(url, "qemu", rest)


def _options(url: str, kind: str, query: str) -> dict[str, str]:
    known = _OPTIONS.get(kind, ())
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise _wrong(url, f"{query!r} is not option=value") from None
    options = dict(pairs)
    for name in options:
        if name not in known:
            hint = did_you_mean(name, [*known]) if known else "It takes none."
            raise DeviceError(f"unknown option {name!r} of {kind}://", where=url, way_out=hint)
    if "python" in options and not _PROGRAM.fullmatch(options["python"]):
        raise _wrong(url, f"{options['python']!r} is not a program's path")
    return options


def _host(url: str, match: re.Match[str]) -> str:
    host = str(match["six"] if match["six"] is not None else match["host"])
    if not _HOST.fullmatch(host):
        raise _wrong(url, f"{host!r} is not a host's name")
    return host


def _port(url: str, text: str | None, *, least: int) -> int:
    if text is None and not least:
        return 0
    if text is None or not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise _wrong(url, f"{text or ''!r} is not a port from 1 to 65535")
    return int(text)


def _without_password(url: str) -> str:
    return re.sub(r"://([^:@/]*):[^@]*@", r"://\1:…@", url)


def _wrong(url: str, what: str) -> DeviceError:
    return DeviceError(what, where=_without_password(url), way_out=f"URLs: {FORMS}.")
