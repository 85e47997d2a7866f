"""One self-contained HTML file of a run, made from facts and rows; it computes no statistics."""
