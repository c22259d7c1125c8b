"""Training of voice."""
