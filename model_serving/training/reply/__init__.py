"""The training and the figures of replies."""
