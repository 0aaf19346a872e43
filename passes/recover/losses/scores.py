"""Losses over class scores, classes last.

    kl       T² · Σ_c p log(p / q)            p = softmax(teacher / T), q = softmax(student / T)
    soft_ce  −T² · Σ_c p log q                the same gradient; its least value is the teacher's entropy
    hard_ce  −log softmax(student)_y
    ofa      −Σ_c [(p_c + 1_{c=y})^e − 1_{c=y}] log q_c        at T = 1

T² keeps the size of the gradient as T grows. (Hinton et al., 2015, arXiv:1503.02531; Hao et al., 2023, One-for-All,
arXiv:2310.19444, from the authors' code.)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, one_hot, softmax

__all__ = ["IGNORED", "hard_ce", "kl", "ofa", "soft_ce"]

IGNORED = -100


def kl(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Divergence [...] of scores [..., classes]; zero where they agree up to a constant."""
    ours, theirs = (log_softmax(scores.float() / temperature, -1) for scores in (student, teacher))
    # A score of −∞ is a class that is ruled out: 0 · log 0 = 0.
    parts = torch.where(theirs.isneginf(), 0.0, theirs.exp() * (theirs - ours))
    return temperature**2 * parts.sum(-1)


def soft_ce(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Cross entropy [...] of scores [..., classes] with the teacher's probabilities."""
    ours = log_softmax(student.float() / temperature, -1)
    theirs = softmax(teacher.float() / temperature, -1)
    return -(temperature**2) * torch.where(theirs == 0, 0.0, theirs * ours).sum(-1)


def hard_ce(student: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy [...] of scores [..., classes] with labels [...]; 0 where the label is −100."""
    ours = log_softmax(student.float(), -1)
    known = labels != IGNORED
    chosen = ours.gather(-1, torch.where(known, labels, 0).unsqueeze(-1)).squeeze(-1)
    return torch.where(known, -chosen, 0.0)


def ofa(student: Tensor, teacher: Tensor, labels: Tensor | None = None, power: float = 1.0) -> Tensor:
    """The one-for-all loss [...] of scores [..., classes]. Without labels, y is the teacher's best class."""
    wanted = teacher.argmax(-1) if labels is None else labels
    target = one_hot(torch.where(wanted == IGNORED, 0, wanted), teacher.shape[-1]).to(torch.float32)
    target = target * (wanted != IGNORED).unsqueeze(-1)
    weight = (softmax(teacher.float(), -1) + target) ** power - target
    return -(weight * log_softmax(student.float(), -1)).sum(-1)
