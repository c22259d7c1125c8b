"""Benchmarks of what serves the tables to others; each module measures one part of it."""
