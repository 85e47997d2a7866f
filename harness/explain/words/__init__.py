"""An explanation as text and as JSON."""
