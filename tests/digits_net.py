"""The bundled digits network, trained, and its data."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["DIGITS", "digits_data", "digits_model"]

DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits"


def digits_data() -> dict[str, Tensor]:
    """Images and labels, by the names that the file has."""
    with np.load(DIGITS / "data.npz") as archive:
        return {name: torch.from_numpy(archive[name]) for name in archive.files}


def digits_model() -> nn.Module:
    """In evaluation mode."""
    spec = importlib.util.spec_from_file_location("digits_model", DIGITS / "model.py")
    assert spec is not None
    assert spec.loader is not None
    source = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(source)
    model: nn.Module = source.build()
    model.load_state_dict(torch.load(DIGITS / "state_dict.pt", weights_only=True))
    return model.eval()
