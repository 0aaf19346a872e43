"""A pattern that protects nothing is refused, with what it may have meant."""

from __future__ import annotations

import pytest

from compressor.errors import InputError
from compressor.graph.program import Program
from compressor.keeping import check_keep


@pytest.mark.parametrize("glob", ["conv", "conv.weight", "conv.*", "*", "he?d", "relu"])
def test_names_of_parameters_layers_and_operators(conv_program: Program, glob: str) -> None:
    check_keep(conv_program, ["head.weight", glob])


def test_a_pattern_without_a_match_is_refused(conv_program: Program) -> None:
    with pytest.raises(InputError, match=r"'convv\.\*'") as caught:
        check_keep(conv_program, ["conv", "convv.*"])
    assert caught.value.where == "--keep"
    assert "conv" in (caught.value.way_out or "")
