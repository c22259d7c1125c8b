"""What Pseudonymise is made of."""
