"""Recognisers and fusion: networks, loading, calibration, weights and their training."""
