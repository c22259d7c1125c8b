"""The leak check: tokens through every field, and a search for them in all that is written."""
