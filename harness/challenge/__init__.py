"""What gates and checks are worth: known faults are planted around the user's model on the user's target."""
