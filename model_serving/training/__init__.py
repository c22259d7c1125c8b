"""Training of the shipped weights, one module a modality."""
