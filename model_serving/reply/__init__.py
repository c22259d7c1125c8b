"""Replies by a causal language model: prompt, ranking, safety filter and templates."""
