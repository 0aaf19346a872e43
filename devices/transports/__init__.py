"""Ways to reach a device, one file each; `devices/opening.py` finds the one that a URL names."""
