"""What `linearize` works with: activations between layers, what merges without them, importance, and training."""
