"""Counts and means that leave the tables with differential privacy, and the budget for them."""
