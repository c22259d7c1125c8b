"""Beam's Flink runner on this machine."""
