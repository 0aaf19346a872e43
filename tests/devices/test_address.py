"""What a device's URL may say."""

from __future__ import annotations

import pytest

from compressor.devices.address import KINDS, Address, parse_address
from compressor.errors import DeviceError


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        ("local", {"kind": "local"}),
        ("ssh://pi@board", {"kind": "ssh", "host": "board", "user": "pi"}),
        ("ssh://Board", {"kind": "ssh", "host": "Board"}),  # aliases of ~/.ssh/config keep their case
        ("ssh://pi@board:2222", {"kind": "ssh", "host": "board", "user": "pi", "port": 2222}),
        ("ssh://[::1]:22", {"kind": "ssh", "host": "::1", "port": 22}),
        ("ssh://b?python=/opt/v/bin/python", {"kind": "ssh", "host": "b", "options": {"python": "/opt/v/bin/python"}}),
        ("adb://emulator-5554", {"kind": "adb", "host": "emulator-5554"}),
        ("adb://192.168.0.5:5555", {"kind": "adb", "host": "192.168.0.5:5555"}),
        ("rpc://localhost:9090", {"kind": "rpc", "host": "localhost", "port": 9090}),
        ("rpc://127.0.0.1:9190/pi5", {"kind": "rpc", "host": "127.0.0.1", "port": 9190, "key": "pi5"}),
        ("rpc://[::1]:9190", {"kind": "rpc", "host": "::1", "port": 9190}),
        (
            "rpc://localhost:9190/pi5?via=ssh://me@gate:22",
            {"kind": "rpc", "host": "localhost", "port": 9190, "key": "pi5", "options": {"via": "ssh://me@gate:22"}},
        ),
        (
            "rpc://inner:9090?via=ssh://gate",
            {"kind": "rpc", "host": "inner", "port": 9090, "options": {"via": "ssh://gate"}},
        ),
        ("qemu://cortex-a76", {"kind": "qemu", "host": "cortex-a76"}),
    ],
)
def test_a_url_is_taken_apart(url: str, fields: dict[str, object]) -> None:
    assert parse_address(url) == Address(url=url, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("", "not a device's URL"), ("board", "not a device's URL"), ("pi@board", "not a device's URL"),
        ("ssh:/board", "not a device's URL"), ("ssh://a b", "not a device's URL"), ("ssh://a\n", "not a device's URL"),
        ("local://", "unknown kind"), ("shs://board", "unknown kind 'shs'"), ("http://board", "unknown kind"),
        ("ssh://", "host's name"), ("ssh://-oProxyCommand=touch%20x", "host's name"), ("ssh://pi@-F", "host's name"),
        ("ssh://$(x)", "host's name"), ("ssh://a;b", "host's name"), ("ssh://-l@board", "user's name"),
        ("ssh://a@b@c", "not ssh://|host's name"), ("ssh://board/path", "not ssh://"), ("ssh://board:", "port"),
        ("ssh://board:0", "port"), ("ssh://board:65536", "port"), ("ssh://board:22x", "port"),
        ("ssh://board:-1", "port"),
        ("ssh://board?pyhton=x", "unknown option 'pyhton'"), ("ssh://board?python", "option=value"),
        ("ssh://board?python=-c", "program's path"), ("ssh://board?python=a%20b", "program's path"),
        ("adb://", "serial"), ("adb://-s", "serial"), ("adb://a/b", "serial"),
        ("rpc://localhost", "port"), ("rpc://me@localhost:1", "not rpc://"), ("rpc://localhost:1/a b", "URL"),
        ("rpc://localhost:1/-k", "plain key"), ("rpc://10.0.0.7:9090/k", "no authentication"),
        ("rpc://0.0.0.0:9090", "no authentication"), ("rpc://localhost.evil:1", "no authentication"),
        ("rpc://h:1?via=adb://x", "takes an ssh"), ("rpc://h:1?via=ssh://-x", "host's name"),
        ("qemu://", "CPU"), ("qemu://-cpu", "CPU"), ("qemu://a?b=c", "It takes none"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_by_name(url: str, what: str) -> None:
    with pytest.raises(DeviceError, match=what):
        parse_address(url)


def test_an_open_rpc_server_is_refused_with_the_way_through_ssh() -> None:
    with pytest.raises(DeviceError, match=r"rpc://localhost:9090/k\?via=ssh://user@10\.0\.0\.7"):
        parse_address("rpc://10.0.0.7:9090/k")


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(DeviceError, match="ssh-copy-id") as error:
        parse_address("ssh://pi:hunter2@board")
    assert "hunter2" not in str(error.value)


def test_an_unknown_kind_is_told_the_nearest() -> None:
    with pytest.raises(DeviceError, match="Did you mean ssh"):
        parse_address("sssh://board")
    assert KINDS == ("local", "ssh", "adb", "rpc", "qemu")
