"""The Delta tables: query, results, checks, history."""
