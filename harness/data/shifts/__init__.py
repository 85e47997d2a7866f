"""Shifted copies of the test data: families, what each stands for, and how they are made."""
