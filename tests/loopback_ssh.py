"""A real sshd on a loopback port, with throwaway keys and an ssh configuration of its own.

Debian's openssh-server is used where it is installed, else unpacked. As root sshd wants a user `sshd` and an empty
/run/sshd; the user is given it by nss_wrapper (Debian's libnss-wrapper), so that nothing is added to the system.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from debian import libraries, program, unpacked

__all__ = ["Server", "free_port", "serve"]

_PRIVILEGE_SEPARATION = Path("/run/sshd")


@dataclass(frozen=True)
class Server:
    """A running server: its URL, the configuration for `ssh -F`, its process, and the folder of its files."""

    url: str
    config: Path
    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What makes `compress` use the configuration."""
        return {"COMPRESS_SSH": f"ssh -F {self.config}"}

    def hang_up(self) -> None:
        """End every connection; the next is taken."""
        started = {self.process.pid}
        processes = sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        for process in processes:
            try:
                name, _, rest = (Path("/proc") / str(process) / "stat").read_text().partition("(")[2].rpartition(") ")
            except OSError:  # it has ended
                continue
            if name.startswith("sshd") and int(rest.split()[1]) in started:
                started.add(process)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)


def free_port() -> int:
    """A port of the loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serve(*settings: str) -> Iterator[Server]:
    """A server that lets the user who runs the tests in by one key; `settings` are lines of its file.

    Skips where there is no sshd to be had.
    """
    if shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        pytest.skip("needs OpenSSH's client")
    sshd = program("sshd", ("openssh-server", "libwrap0", "libnss-wrapper"))
    with tempfile.TemporaryDirectory(prefix="compress-sshd-") as name, _privilege_separation():
        folder, port = Path(name), free_port()
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
        _configure(folder, port, settings)
        command = [str(sshd), "-D", "-e", "-f", str(folder / "sshd_config")]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, env=_environment(folder, sshd), stderr=log, start_new_session=True)
        try:
            _wait(process, port, folder / "log")
            yield Server(f"ssh://{getpass.getuser()}@board:{port}", folder / "ssh_config", process, folder)
        finally:
            process.kill()
            process.wait()


def _configure(folder: Path, port: int, settings: Sequence[str]) -> None:
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nPidFile none\n"
        "PermitRootLogin prohibit-password\nMaxSessions 20\n" + "".join(f"{line}\n" for line in settings),
        encoding="utf-8",
    )
    (folder / "ssh_config").write_text(
        f"Host board\n  HostName 127.0.0.1\n  HostKeyAlias board\n  IdentityFile {folder}/user\n  IdentitiesOnly yes\n"
        f"  IdentityAgent none\n  UserKnownHostsFile {folder}/known_hosts\n  GlobalKnownHostsFile none\n",
        encoding="utf-8",
    )
    (folder / "known_hosts").write_text(f"board {(folder / 'host.pub').read_text(encoding='utf-8')}", encoding="utf-8")


@contextlib.contextmanager
def _privilege_separation() -> Iterator[None]:
    """Root's sshd wants its empty folder; it is made as the system's own start script would, and goes again."""
    if os.geteuid() or _PRIVILEGE_SEPARATION.exists():
        yield
        return
    try:
        _PRIVILEGE_SEPARATION.mkdir(mode=0o755)
    except OSError as error:
        pytest.skip(f"sshd as root needs {_PRIVILEGE_SEPARATION}: {error.strerror}")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # another worker's server still uses it
            _PRIVILEGE_SEPARATION.rmdir()


def _environment(folder: Path, sshd: Path) -> dict[str, str]:
    environment = dict(os.environ)
    if not sshd.is_relative_to("/usr"):
        environment["LD_LIBRARY_PATH"] = libraries(sshd.parents[2])
    if not os.geteuid() and not _has_user("sshd"):
        root = unpacked("openssh-server", "libwrap0", "libnss-wrapper")
        users = f"root:x:0:0::{folder}:/bin/sh\nsshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"  # no start-up files
        (folder / "passwd").write_text(users, encoding="utf-8")
        environment |= {
            "LD_PRELOAD": str(next(root.rglob("libnss_wrapper.so"))), "NSS_WRAPPER_PASSWD": str(folder / "passwd"),
            "NSS_WRAPPER_GROUP": "/etc/group",
        }  # fmt: skip
    return environment


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(200):
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.skip(f"sshd does not start: {log.read_text(errors='replace').strip()[-300:]}")
