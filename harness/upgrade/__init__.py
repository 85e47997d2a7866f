"""What another version of a runtime changes, target by target."""
