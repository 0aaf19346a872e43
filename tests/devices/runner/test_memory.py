"""The peak is the kernel's figure, or getrusage's where the kernel has none."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from compressor.devices.runner.memory import peak_bytes


def test_the_kernel_is_asked(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/status").write_text("Name:\tpython\nVmHWM:\t   12345 kB\nVmRSS:\t 9 kB\n")
    assert peak_bytes(str(tmp_path)) == 12345 * 1024


def test_elsewhere_it_is_what_getrusage_says(tmp_path: Path) -> None:
    ours = peak_bytes()
    assert ours is not None
    other = peak_bytes(str(tmp_path))
    assert other is not None
    assert 0.5 < other / ours < 2


def test_it_sees_what_is_held() -> None:
    before = peak_bytes() or 0
    held = np.ones(before // 8 + 2**23)  # more than ever before
    after = peak_bytes() or 0
    assert after - before > 2**25
    assert held[0] == 1
