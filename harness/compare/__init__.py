"""Several stored runs: what differs between them, and whether it matters."""
