"""What `prune` is made of: scores of units, widths that fit a target, and the choice of what goes."""
