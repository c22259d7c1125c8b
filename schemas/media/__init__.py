"""Media: what formats they come in."""
