"""One error tree; every error owns its exit code and says what, where, and the way out."""

from __future__ import annotations

import pytest

from compressor import errors
from compressor.errors import CompressError, LoadError, UntrustedError, UserError, did_you_mean


def test_the_tree_is_as_drawn() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]
    assert all(issubclass(kind, CompressError) and kind.__name__ in (errors.__doc__ or "") for kind in kinds)
    assert {kind.__name__ for kind in kinds if kind.exit_code == 1} == {
        "CompressError", "DeviceLostError", "PassError", "ExportError", "MismatchError",
    }  # fmt: skip
    assert issubclass(UntrustedError, LoadError)
    assert issubclass(LoadError, UserError)


def test_the_message_has_all_three_parts() -> None:
    text = str(LoadError("is empty", where="model.pt", way_out="Save it again."))
    assert text == "model.pt: is empty\n  Save it again."


@pytest.mark.parametrize(("word", "hint"), [("fodl", "Did you mean fold?"), ("zzzz", "Known: fold, quantize.")])
def test_did_you_mean(word: str, hint: str) -> None:
    assert did_you_mean(word, ["quantize", "fold"]) == hint
