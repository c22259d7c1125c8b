"""Benchmarks of what keeps the stream lawful; each module measures one part of it."""
