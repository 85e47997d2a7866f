"""All that a device carries: the worker, its files, and what the machine says of itself."""
