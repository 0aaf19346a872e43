"""`--model file.py:function`: the user's function that builds the model which weights are loaded into."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compressor.errors import LoadError
from compressor.userfile import load_function, own_line

if TYPE_CHECKING:
    from torch import nn

__all__ = ["build", "needed"]


def build(factory: str) -> nn.Module:
    """The module that `file.py:function` returns, called without arguments.

    Raises InputError when file or function is missing, LoadError when the function raises or returns something else.
    """
    from torch import nn

    function, file = load_function(factory, "--model"), factory.rpartition(":")[0]
    try:
        module = function()
    except Exception as error:  # the user's own code
        raise LoadError(
            f"building the model failed: {type(error).__name__}: {error}",
            where=f"--model {own_line(error, file)}",
            way_out="The function is called without arguments and must return the model.",
        ) from error
    if not isinstance(module, nn.Module):
        raise LoadError(
            f"returned {type(module).__name__}, not an nn.Module",
            where=f"--model {factory}",
            way_out="The function must return the model itself.",
        )
    return module


def needed(where: str, what: str) -> LoadError:
    """The refusal of weights that came without the code that uses them."""
    return LoadError(
        f"holds {what} only, not the model's code",
        where=where,
        way_out="Pass --model file.py:function, where the function returns the model built but not trained.",
    )
