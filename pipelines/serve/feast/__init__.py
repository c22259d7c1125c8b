"""Feast over the tables: offline from the files that are live, online from the guarded store."""

from importlib.util import find_spec

if find_spec("feast") is None:
    message = "Feast is not installed: pip install affectstream[feast]"
    raise ImportError(message)
