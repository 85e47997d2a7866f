"""Logits for each token: encoders of masked text, and decoders that are given the text (teacher forcing)."""
