"""The dimension analysis: which slices of which parameters live and die together, for any captured graph."""
