"""TorchScript: a program of its own, which runs when it is loaded.

So an untrusted file is loaded and converted in a short-lived process with limits (`isolated.py`), which hands back a
`.pt2` archive that is checked like any other. With `--trust` it is converted here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from compressor.errors import LoadError, UntrustedError
from compressor.graph.capture import Captured
from compressor.load.isolated import run_isolated
from compressor.load.loaded import Loaded
from compressor.load.script import convert_script
from compressor.load.weights import check_finite

__all__ = ["load_torchscript"]

_FILES = re.compile(rb"\b(save|from_file)\b")  # the only operators of TorchScript that open files


def load_torchscript(path: Path, *, trust: bool) -> Loaded:
    """The file as a model to be converted once its inputs are known.

    Raises UntrustedError when its code opens files, LoadError when it is damaged.
    """
    if not trust:
        _check_code(path)
    return Loaded(path.stem, "TorchScript", convert=partial(_convert, path, trust))


def _convert(path: Path, trust: bool, args: Sequence[Any], kwargs: Mapping[str, Any], synthetic: bool) -> Captured:
    if trust:
        captured = convert_script(path, args, kwargs, synthetic=synthetic)
    else:
        captured = run_isolated(path, args, kwargs, synthetic=synthetic)
    parameters = {name for name, _ in captured.program.module.named_parameters()}
    tensors = captured.program.tensors().items()
    check_finite(
        (item for item in tensors if item[0] in parameters),
        (item for item in tensors if item[0] not in parameters),
        str(path),
    )
    return captured


def _check_code(path: Path) -> None:
    try:
        with path.open("rb") as file:
            reader = torch._C.PyTorchFileReader(file)
            for name in reader.get_all_records():
                if name.lower().endswith(".py") and _FILES.search(reader.get_record(name)):
                    raise UntrustedError(
                        f"its code opens files ({name})",
                        where=str(path),
                        way_out="Pass --trust only if you trust where the file comes from.",
                    )
    except (RuntimeError, OSError) as error:
        raise LoadError(
            f"is damaged: {str(error).splitlines()[0][:200]}", where=str(path), way_out="Copy it or save it again."
        ) from error
