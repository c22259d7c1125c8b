"""The voice recogniser: front end and net."""
