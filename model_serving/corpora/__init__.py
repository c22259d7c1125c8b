"""The labelled corpora: one reader each."""
