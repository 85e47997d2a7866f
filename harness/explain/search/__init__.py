"""Hypotheses are tested one after the other; what that came to, and what a remedy does."""
