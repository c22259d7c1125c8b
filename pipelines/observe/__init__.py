"""Observability: metrics, structured logs, and the trace of one record."""
