"""Values as literals of the query engine's SQL, quoted."""


def text(value: str) -> str:
    """Return a text as a literal."""
    return "'" + value.replace("'", "''") + "'"


def same(column: str, value: str | None) -> str:
    """Return the condition that a column is this text, or null as it is."""
    return f"{column} IS NULL" if value is None else f"{column} = {text(value)}"
