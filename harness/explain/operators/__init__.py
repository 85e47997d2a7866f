"""One layer by itself: what its operator gives by definition, and what a wrong one gives instead."""
