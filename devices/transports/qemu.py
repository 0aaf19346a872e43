"""An emulated Arm core: qemu's user mode with that core's instructions and /proc/cpuinfo, on this machine.

It is for correctness and instruction counts. Its time means nothing, and `Description.timed` says so. A program whose
environment names a file for counts (`runner/counting.py`) is run by the emulator that counts.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from compressor.devices.address import Address
from compressor.devices.checks import checked_environment, checked_program
from compressor.devices.device import Description, Finished
from compressor.devices.emulation.cpus import CPUS
from compressor.devices.emulation.root import find_root
from compressor.devices.probe import PYTHON_PROBE, description
from compressor.devices.runner.counting import COUNTS
from compressor.devices.transports.local import LocalDevice
from compressor.errors import DeviceError, did_you_mean

__all__ = ["QEMUDevice"]


class QEMUDevice(LocalDevice):
    """A core that is set up. Files are this machine's; programs are the emulated root's, or pushed.

    An emulated program can fork and not start another: the kernel knows nothing of the emulation.
    """

    def __init__(self, address: Address) -> None:
        if address.host not in CPUS:
            way_out = did_you_mean(address.host, [*CPUS])
            raise DeviceError(f"no emulated CPU is called {address.host!r}", where=address.url, way_out=way_out)
        root = find_root()
        if root is None:
            raise DeviceError("is not set up", where=address.url, way_out="Run `compress devices setup qemu`.")
        super().__init__(address)
        self.cpu, self.root = address.host, root
        self.python = (root.python,)

    def run(
        self,
        program: Sequence[str],
        *,
        timeout: float,
        environment: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        given = checked_environment(environment)
        argv = self.root.argv(self.cpu, checked_program(program), counting=COUNTS in given)
        if argv is None:
            return Finished(127, "", f"{program[0]}: not found\n")
        return self._finished(argv, self.root.environment(given), timeout, on_line)

    @contextlib.contextmanager
    def folder(self) -> Iterator[str]:
        """The first free name of a row, not a random one: a program hashes its paths, which changes counts a little."""
        for number in itertools.count():
            path = Path(tempfile.gettempdir()) / f"compress-qemu-{os.getuid()}-{number:03}"
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o700)
                break
        try:
            yield str(path)
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def describe(self) -> Description:
        done = self.run([*self.python, "-c", PYTHON_PROBE], timeout=120)
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024
        own = f"system=Linux\narch=aarch64\ncores={os.cpu_count()}\nmemory_kb={memory}\n"
        cpu = f"model={CPUS[self.cpu].title}, emulated by qemu\n"
        found = description(own + cpu + done.stdout, self.url, timed=False)
        return replace(found, counted=not self.root.uncounted)
