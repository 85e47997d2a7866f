"""Configuration: TOML files become frozen objects, and all problems are reported at once."""
