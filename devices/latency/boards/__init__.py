"""Whole models' latencies on a board from a few measurements there and many on other boards; tables, no programs."""
