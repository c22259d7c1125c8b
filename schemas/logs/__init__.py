"""What the structured log says, by stable events."""
