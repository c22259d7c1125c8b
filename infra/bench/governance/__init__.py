"""Benchmarks of what law and attacks ask of the stream; each module measures one part of it."""
