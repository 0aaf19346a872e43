"""Parts of `drop`: which blocks go, and what makes up for them."""
