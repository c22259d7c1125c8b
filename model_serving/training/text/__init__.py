"""Training of text."""
