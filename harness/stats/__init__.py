"""Arithmetic between facts and verdicts: pure functions over numpy arrays, each with its source."""
