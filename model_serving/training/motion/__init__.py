"""Training of motion."""
