"""What the law asks for, measured."""
