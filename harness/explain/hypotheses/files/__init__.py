"""Causes in the file: other constants, another export, a stale file, other weights of a variant."""
