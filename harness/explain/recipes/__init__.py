"""Variants made again with another recipe, and what answers are worth: for remedies that are run."""
