"""The page over the tables: what was shown, how the stream does, and what a person should judge."""
