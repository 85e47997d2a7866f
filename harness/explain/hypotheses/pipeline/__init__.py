"""Causes before and behind the model: its input, and what becomes of its outputs."""
