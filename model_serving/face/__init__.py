"""The face recogniser: front end and net."""
