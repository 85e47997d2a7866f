"""Why two sides differ: the first layer that does, the cause that a test confirmed, and what removes it."""
