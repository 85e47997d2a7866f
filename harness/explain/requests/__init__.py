"""What is asked: two sides, the failures of a run, or two stored runs."""
