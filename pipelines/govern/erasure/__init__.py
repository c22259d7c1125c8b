"""Erasure of a person: rows, files, logs, feeds and stores, and the proof that nothing is left."""
