"""What DecodeEvents is made of."""
