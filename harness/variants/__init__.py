"""Variants made outside a validation: ``compress`` and ``search``."""
