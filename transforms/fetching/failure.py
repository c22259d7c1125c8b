"""Why media could not be fetched."""

from schemas.errors import DeadLetterCode


class FetchError(Exception):
    """Media that could not be fetched: the code, and a detail that never holds the URI."""

    def __init__(self, code: DeadLetterCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def check_size(size: int, most: int) -> None:
    """Raise FetchError for media of more bytes than are allowed."""
    if size > most:
        detail = f"more than the {most:,} bytes that are allowed"
        raise FetchError(DeadLetterCode.MEDIA_TOO_LARGE, detail)
