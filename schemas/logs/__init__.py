"""What structured logs hold."""
