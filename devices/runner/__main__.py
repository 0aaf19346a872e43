"""`python3 runner TASK FILE`: starts the folder it lies in, whatever that is called, as a package."""

import importlib
import os
import sys

if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[0] = os.path.dirname(here)
    sys.exit(importlib.import_module(os.path.basename(here) + ".main").main(sys.argv[1:]))
