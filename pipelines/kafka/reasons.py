"""Why a Kafka client failed, in one sentence."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from kafka.errors import KafkaError

from schemas.errors import AffectstreamError, BrokerAwayError
from schemas.settings import Kafka


class _Reasons(logging.Handler):
    """Keeps the clearest reason why connections failed: the client logs it, but raises a time-out.

    A broker that refused a password hangs up on the next attempts, or lets them time out.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.clearest = ""

    def emit(self, record: logging.LogRecord) -> None:
        start, _, reason = record.getMessage().partition(" failed: ")
        if start.startswith("Bootstrap connection"):
            reason = reason.partition(" (backoff")[0].splitlines()[0]
            self.clearest = max(reason, self.clearest, key=_clarity)

    @property
    def final(self) -> bool:
        """Tell whether another attempt would meet the same."""
        return _clarity(self.clearest) == _REFUSED

    def __str__(self) -> str:
        if "socket disconnected" in self.clearest:  # often all that is logged
            return "it hangs up, as on a wrong user, password or protocol"
        return self.clearest


_REFUSED = 4


def _clarity(reason: str) -> int:
    if "uthentication" in reason or "certificate" in reason:
        return _REFUSED
    if "socket disconnected" in reason:
        return 2
    return (1 if "Timeout" in reason else 3) if reason else 0


@contextmanager
def explain_kafka_error(kafka: Kafka) -> Iterator[None]:
    """Turn what the client raises into one sentence with the broker's address and the reason.

    Raises:
        BrokerAwayError: another attempt may succeed.
        AffectstreamError: no other attempt would.
    """
    reasons = _Reasons()
    logger = logging.getLogger("kafka.net.manager")
    logger.addHandler(reasons)
    try:
        yield
    except (KafkaError, OSError, ValueError) as error:
        reason = str(reasons) or str(error).partition("\n")[0]
        message = f"Kafka at {kafka.bootstrap}: {reason}: check `kafka` in the configuration"
        may_pass = isinstance(error, OSError) or getattr(error, "retriable", False)
        kind = BrokerAwayError if may_pass and not reasons.final else AffectstreamError
        raise kind(message) from error
    finally:
        logger.removeHandler(reasons)
