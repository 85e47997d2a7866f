"""A difference as a file of a few operators with a script that needs the runtime alone."""
