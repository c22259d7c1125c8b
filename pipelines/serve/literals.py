"""Values as literals of the query engine's SQL, quoted."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime.fromtimestamp(0, UTC)


def text(value: str) -> str:
    """Return a text as a literal."""
    return "'" + value.replace("'", "''") + "'"


def moment(value: datetime) -> str:
    """Return a time as a literal; one written as text would end in 2262, as nanoseconds do."""
    micros = (value - _EPOCH) // timedelta(microseconds=1)
    return f"""arrow_cast({micros}, 'Timestamp(Microsecond, Some("UTC"))')"""


def same(column: str, value: str | None) -> str:
    """Return the condition that a column is this text, or null as it is."""
    return f"{column} IS NULL" if value is None else f"{column} = {text(value)}"
