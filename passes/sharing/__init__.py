"""What `share` is made of: groups of blocks, whose weights they take, transposed pairs, and weights in slots."""
