"""Rows and limits become verdicts. Pure."""
