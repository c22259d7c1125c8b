"""One run of the graph: replay, demo, submission, preflight."""
