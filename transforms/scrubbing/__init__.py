"""What ScrubText is made of."""
