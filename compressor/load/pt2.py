"""`.pt2`: a model that `torch.export` has captured already."""

from __future__ import annotations

from pathlib import Path

from compressor.graph.storage import load
from compressor.load.loaded import Loaded
from compressor.load.weights import check_finite

__all__ = ["load_pt2"]


def load_pt2(path: Path, *, trust: bool) -> Loaded:
    """The program in the archive, checked before it is opened unless `trust`.

    Raises LoadError when it is damaged, UntrustedError when it would execute code.
    """
    from torch import nn

    program = load(path, trust=trust)
    tensors = program.tensors().items()
    check_finite(
        ((name, tensor) for name, tensor in tensors if isinstance(tensor, nn.Parameter)),
        ((name, tensor) for name, tensor in tensors if not isinstance(tensor, nn.Parameter)),
        str(path),
    )
    return Loaded(path.stem, "torch.export archive", program=program)
