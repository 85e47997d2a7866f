"""Bytes on disk: the user's cache, a run's folder and its tables."""
