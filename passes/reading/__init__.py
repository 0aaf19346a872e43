"""What layers read, as matrices: the products of inputs that solvers need, gathered while the program runs."""
