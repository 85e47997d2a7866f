"""Boards that are reached over ssh."""
