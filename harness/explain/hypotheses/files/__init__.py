"""Causes in the file: different constants or operators, a stale file, weights of a variant."""
