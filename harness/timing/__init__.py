"""Interleaved A/B timing in fresh processes."""
