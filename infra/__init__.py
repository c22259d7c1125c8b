"""Real servers and benchmarks; nothing here is staged to workers."""
