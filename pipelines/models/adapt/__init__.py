"""Models that are fitted to a deployment by its own recorded log, without labels."""
