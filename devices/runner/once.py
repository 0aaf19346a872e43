"""A model run once on the board, with a library of operators of its own: what comes out is written to a file.

python3 once.py MODEL LIBRARY INPUTS.npz OUTPUTS.npz
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """The exit status: 0 done, 2 wrongly called."""
    if len(arguments) != 4:
        sys.stderr.write("usage: python3 once.py MODEL LIBRARY INPUTS.npz OUTPUTS.npz\n")
        return 2
    import onnxruntime

    model, library, given, made = arguments
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.register_custom_ops_library(library)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    with np.load(given) as arrays:
        feed = {each.name: arrays[each.name] for each in session.get_inputs()}
    np.savez(made, **dict(zip(names, session.run(names, feed))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
