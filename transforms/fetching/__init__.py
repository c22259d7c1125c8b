"""What FetchMedia is made of."""
