"""Codes of a layer's weights: how they are found, and how they are stored in place of the floats."""
