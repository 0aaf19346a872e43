"""What one call of a program takes, by its kind: its numbers, and the law that is fitted to timed calls like it."""
