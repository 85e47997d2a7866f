"""Data sets and their shifted copies: reading, resizing, splitting, corrupting; all of it on the host."""
