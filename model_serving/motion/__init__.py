"""The motion recogniser: front end and net."""
