"""Data about data: events, tables, vocabularies, expectations, policy tables, errors."""
