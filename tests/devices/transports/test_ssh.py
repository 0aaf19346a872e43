"""A device reached by ssh: a real client, a real server, on loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_ssh import Server, serve
from transport_contract import Contract

from compressor.devices.device import Device
from compressor.devices.opening import open_device


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(scope="module")
def opened(server: Server) -> Iterator[Device]:
    with open_device(server.url) as device:
        yield device


class TestSSH(Contract):
    @pytest.fixture
    def device(self, opened: Device) -> Device:
        return opened


def test_the_url_names_the_python(server: Server) -> None:
    with open_device(f"{server.url}?python=/opt/my/python3.11") as device:
        assert tuple(device.python) == ("/opt/my/python3.11",)
        assert device.run([*device.python, "-V"], timeout=30).status == 127


def test_its_temporary_folder_is_the_users_own(server: Server) -> None:
    with open_device(server.url) as device, device.folder() as path:
        assert Path(path).stat().st_mode & 0o777 == 0o700
        assert Path(path).stat().st_uid == os.getuid()


def test_nothing_that_is_sent_is_run_by_the_shell(server: Server, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    text = f"'; touch {witness}; $(touch {witness}) `touch {witness}`\ntouch {witness}\n'"
    with open_device(server.url) as device:
        done = device.run(["echo", text], timeout=30, environment={"X": text})
    assert done.stdout == text + "\n"
    assert not witness.exists()


def test_the_connection_and_its_socket_go_with_the_device(server: Server) -> None:
    before = set(Path("/tmp").glob("compress-ssh-*"))
    with open_device(server.url):
        [mine] = set(Path("/tmp").glob("compress-ssh-*")) - before
    assert not mine.exists()
