"""`python -m compressor`: the same command, whatever else is called `compress` on this machine."""

from compressor.cli.main import entry

if __name__ == "__main__":
    entry()
