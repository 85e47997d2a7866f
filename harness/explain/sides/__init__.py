"""The two sides that are compared: a file on a target with some options, and how it is run."""
