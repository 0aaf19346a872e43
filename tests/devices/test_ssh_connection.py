"""The shared ssh connection: what it refuses, and how it ends."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_ssh import Server, free_port, serve

from compressor.devices.address import parse_address
from compressor.devices.opening import open_device
from compressor.devices.ssh_connection import SSHConnection
from compressor.errors import DeviceError, DeviceLostError


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve() as server:
        yield server


@pytest.fixture
def config(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of the server's client configuration, to spoil."""
    file = tmp_path / "ssh_config"
    file.write_text(server.config.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setenv("COMPRESS_SSH", f"ssh -F '{file}'")
    return file


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize("name", ["a b", "100%h", "${HOME}", "'", "x" * 90])
def test_whatever_the_temporary_folder_is_called(
    server: Server, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
    SSHConnection(parse_address(server.url)).close()
    assert list((tmp_path / name).iterdir()) == []


def test_a_host_that_is_not_known_is_refused_and_not_added(server: Server, config: Path, tmp_path: Path) -> None:
    (tmp_path / "known").write_text("", encoding="utf-8")
    _replace(config, f"{server.folder}/known_hosts", f"{tmp_path}/known")
    with pytest.raises(DeviceError, match=r"verification failed.*\n.*Connect once by hand"):
        open_device(server.url)
    assert (tmp_path / "known").read_text(encoding="utf-8") == ""


def test_another_hosts_key_is_refused(server: Server, config: Path, tmp_path: Path) -> None:
    other = (server.folder / "user.pub").read_text(encoding="utf-8")
    (tmp_path / "known").write_text(f"board {other}", encoding="utf-8")
    _replace(config, f"{server.folder}/known_hosts", f"{tmp_path}/known")
    with pytest.raises(DeviceError, match="verification failed"):
        open_device(server.url)


def test_without_a_key_it_does_not_wait_for_a_password(server: Server, config: Path, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    _replace(config, f"{server.folder}/user", f"{tmp_path}/other")
    with pytest.raises(DeviceError, match=r"Permission denied.*\n.*ssh-copy-id"):
        open_device(server.url)


def test_the_command_to_try_by_hand_goes_to_the_same_port(server: Server, config: Path, tmp_path: Path) -> None:
    (tmp_path / "known").write_text("", encoding="utf-8")
    _replace(config, f"{server.folder}/known_hosts", f"{tmp_path}/known")
    host, _, port = server.url.removeprefix("ssh://").rpartition(":")
    with pytest.raises(DeviceError) as caught:
        open_device(server.url)
    assert f"`ssh -p {port} {host}`" in caught.value.way_out


def test_nobody_there(config: Path) -> None:
    with pytest.raises(DeviceError, match=r"Connection refused.*\n.*ssh server"):
        open_device(f"ssh://board:{free_port()}")


def test_a_jump_host_of_the_users_configuration_works(server: Server, config: Path) -> None:
    port = parse_address(server.url).port
    text = config.read_text(encoding="utf-8")
    jump = f"Host far\n  ProxyCommand ssh -F {config} -W 127.0.0.1:{port} -p {port} board\n"
    rest = text.replace("Host board\n  HostName 127.0.0.1\n", "")
    config.write_text(f"{jump}{rest}{text}", encoding="utf-8")
    with open_device("ssh://far") as device:
        assert device.run(["echo", "through"], timeout=30).stdout == "through\n"


def test_a_connection_that_ends_loses_the_device(server: Server, config: Path) -> None:
    with open_device(server.url) as device:

        def on_line(line: str) -> None:
            subprocess.run(["kill", line], check=True)

        # the server's process for this connection is the parent of the shell's session
        code = ["sh", "-c", "read _ _ _ up _ </proc/$PPID/stat; echo $up; sleep 60"]
        with pytest.raises(DeviceLostError):
            device.run(code, timeout=60, on_line=on_line)
        with pytest.raises(DeviceLostError):
            device.run(["true"], timeout=30)


def test_a_forwarded_port_leads_there(server: Server, config: Path) -> None:
    with socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        there.listen(1)

        def answer() -> None:
            peer, _ = there.accept()
            with peer:
                peer.sendall(b"hello")

        threading.Thread(target=answer, daemon=True).start()
        connection = SSHConnection(parse_address(server.url))
        try:
            port = connection.forward("127.0.0.1", there.getsockname()[1])
            with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
                peer.settimeout(10)
                assert peer.recv(16) == b"hello"
        finally:
            connection.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=10)
