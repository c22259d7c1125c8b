"""The HTTP API: latest, history, decisions and their explanations, for callers with a token."""
