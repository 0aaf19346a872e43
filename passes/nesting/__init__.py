"""What `elastic` works with: which units and blocks each entry keeps, and the programs that are made of them."""
