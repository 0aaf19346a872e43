"""Which layer gets which format: what is legal, what is slower, what does least damage."""
