"""Groups of people that figures are given by."""

UNKNOWN = "unknown"
"""The group of rows of which a corpus does not tell the speaker's sex or age."""
