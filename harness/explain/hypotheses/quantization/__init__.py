"""Causes in how a quantized file was made."""
