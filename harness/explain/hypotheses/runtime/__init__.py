"""Causes in the runtime: its options, its arithmetic, its kernels, and how it is called."""
