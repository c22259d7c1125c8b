"""What DecideExpressions is made of."""
