"""Scenario policies before they decide: what is wrong with one, and what it would change."""
