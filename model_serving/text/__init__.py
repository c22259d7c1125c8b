"""The text recogniser: front end and net."""
