"""Benchmarks of what protects people and the stream; each module measures one part of it."""
