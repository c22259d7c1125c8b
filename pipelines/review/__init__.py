"""The review queue: what to look at first, what reviewers said, and labels for training."""
