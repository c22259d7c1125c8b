"""Governance: the consent ledger and feed."""
