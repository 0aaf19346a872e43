"""What `factorize` is made of: the linear algebra, the ranks, and the rewriting of layers into thinner ones."""
