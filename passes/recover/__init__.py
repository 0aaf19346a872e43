"""The recovery engine: a program learns from the one that it was made of, without labels, within a budget."""

from compressor.passes.recover.as_pass import Recover
from compressor.passes.recover.budget import Budget, parse_budget
from compressor.passes.recover.engine import Recovered, Settings, recover
from compressor.passes.recover.family import Family
from compressor.passes.recover.norms import recalibrate
from compressor.passes.recover.outputs import check_fit, fed, match_inputs
from compressor.passes.recover.ranks import Ranks, connect

__all__ = [
    "Budget", "Family", "Ranks", "Recover", "Recovered", "Settings", "check_fit", "connect", "fed", "match_inputs",
    "parse_budget", "recalibrate", "recover",
]  # fmt: skip
