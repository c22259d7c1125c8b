"""Isolation of poison records."""
