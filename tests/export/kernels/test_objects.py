"""Kernels in an object file: linked without TVM, called with pointers, the numbers of those that TVM calls."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from kernel_runs import HOST, here, rounded

from compressor.export.kernels.activations import Rounding, round_rows
from compressor.export.kernels.objects import write_object

each = pytest.mark.parametrize("isa", here(), ids=lambda isa: isa.name)


@each
def test_a_share_of_rows_is_rounded_and_no_other(isa, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    if (compiler := shutil.which("cc")) is None:
        pytest.skip("needs a C compiler")
    layout, x = isa.layout(1, 70, 2, 32), torch.randn(6, 70)
    how = Rounding(isa, layout, by_block=True, in_c=True)
    write_object({"round_some": round_rows(how, "round_some")}, HOST, tmp_path / "kernels.o")
    library = str(tmp_path / "kernels.so")
    subprocess.run(
        [compiler, "-shared", "-Wl,--no-undefined", "-o", library, tmp_path / "kernels.o", "-lm"], check=True
    )
    made = [np.full((6, layout.stride), 77, np.int8), np.full((6, layout.blocks), 77, np.float32)]
    made += [np.full((6, layout.blocks), 77, np.int32)]
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (x.numpy(), *made)]
    ctypes.CDLL(library).round_some(*map(ctypes.c_int64, (6, 2, 5)), *pointers)
    for found, wanted in zip(made, rounded(isa, x, 32, by_block=True), strict=True):
        assert np.array_equal(found[2:5], wanted[2:5])
        assert (found[[0, 1, 5]] == 77).all()
