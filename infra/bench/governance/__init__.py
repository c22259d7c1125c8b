"""Benchmarks of governance; each module measures one part of it."""
