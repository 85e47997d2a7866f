"""What the input of a model is made from, and the usual mistakes in making it."""
