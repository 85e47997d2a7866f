"""One self-contained HTML file of a run: read from facts and rows, no statistics of its own."""
