"""Integer layers: exact sums, ways to round, sums of 16 bits, and changes of a quantized file."""
