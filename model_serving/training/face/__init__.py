"""Training of face."""
