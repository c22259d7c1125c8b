"""What LandTable is made of."""
