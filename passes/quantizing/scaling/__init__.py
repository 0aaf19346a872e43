"""Scales moved between a layer and its inputs, so that both round better."""
