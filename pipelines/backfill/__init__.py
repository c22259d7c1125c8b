"""Backfill: features and decisions of past days, made anew from the observations that landed."""
