"""TOML files become frozen objects; every problem is reported at once."""
