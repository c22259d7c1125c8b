"""What GateByPolicy is made of."""
