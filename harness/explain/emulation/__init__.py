"""Arithmetic that errs, made on this machine and compared with a side."""
