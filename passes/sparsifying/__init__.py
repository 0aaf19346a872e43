"""What `sparsify` is made of: layers as matrices, patterns of zeros, scores, and the update of what stays."""
