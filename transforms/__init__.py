"""One module and one PTransform a stage, in the order of the data."""
