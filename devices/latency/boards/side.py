"""How alike models' latencies are expected to vary between devices, from what is known of the models themselves.

    K(m, n) = f [same format] + g(m, n) (a φ_m·φ_n / d + b exp(−‖φ_m − φ_n‖² / 2d) + c [m = n])
    φ_m = (log t_m, log(w_m1 / t_m), …), each centred and divided by its spread;  g = 1 in one format, 0.3 across

t is the latency on the source devices, w the work (MACs by kind, bytes): w / t is the rate that the source reaches,
which tells what bounds the model there (roofline), and so how it moves on a board with other bounds. Rasmussen,
Williams: Gaussian Processes for Machine Learning (2006), chapter 4.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compressor.devices.latency.boards.table import Floats

__all__ = ["SCALES", "SideKernel", "side_kernel"]

_ACROSS = 0.3  # how far what is seen in one format speaks for another


@dataclass(frozen=True)
class SideKernel:
    """Variances of log latency: between formats, along features, of smooth bends over them, of each model alone."""

    format: float = 0.5
    linear: float = 0.01
    smooth: float = 0.01
    own: float = 0.001


SCALES = tuple(SideKernel(linear=a, smooth=b) for a, b in itertools.product((0.003, 0.01, 0.03), repeat=2))
"""What is averaged over by evidence where there are too few boards to learn a covariance from."""


def side_kernel(size: Floats, work: Floats | None, formats: Sequence[str] | None, scale: SideKernel) -> Floats:
    """K, shape (models, models).

    `size`: log latency on the sources, shape (models,). `work`: logs of work, shape (models, kinds), or None.
    """
    rates = [size[:, None]] if work is None else [size[:, None], work - size[:, None]]
    features = np.concatenate(rates, axis=1)
    features = features - features.mean(0)
    spread = features.std(0)
    features = features / np.where(spread > 1e-9, spread, 1.0)
    kinds = features.shape[1]
    names = np.array(formats if formats is not None else [""] * len(size))
    same = (names[:, None] == names[None]).astype(np.float64)
    gate = _ACROSS + (1 - _ACROSS) * same
    apart = ((features[:, None] - features[None]) ** 2).sum(-1) / kinds
    bends = scale.linear * features @ features.T / kinds + scale.smooth * np.exp(-apart / 2)
    return np.asarray(scale.format * same + gate * bends + scale.own * np.eye(len(size)))
