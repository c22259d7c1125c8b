"""What decisions carry and follow: their columns, and the settings of baselines."""
