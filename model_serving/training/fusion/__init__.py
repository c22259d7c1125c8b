"""Training of fusion."""
