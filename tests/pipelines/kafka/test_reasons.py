"""What is said of a broker that cannot be reached."""

import logging
from itertools import permutations

import pytest
from kafka.errors import KafkaTimeoutError

from pipelines.kafka.reasons import explain_kafka_error
from schemas.errors import AffectstreamError
from schemas.settings import Kafka

REFUSED = "SaslAuthenticationFailedError: invalid credentials"
HUNG_UP = "KafkaConnectionError: socket disconnected"
TIMED_OUT = "KafkaTimeoutError: Timeout during ApiVersions check"


def fail(*reasons: str) -> None:
    logger = logging.getLogger("kafka.net.manager")
    with explain_kafka_error(Kafka(bootstrap="127.0.0.1:1")):
        for reason in reasons:
            logger.warning("Bootstrap connection to bootstrap-0 failed: %s (backoff 1 s)", reason)
        raise KafkaTimeoutError(TIMED_OUT)


def said(*reasons: str) -> str:
    with pytest.raises(AffectstreamError) as raised:
        fail(*reasons)
    return str(raised.value)


@pytest.mark.parametrize("reasons", permutations([REFUSED, HUNG_UP, TIMED_OUT]))
def test_a_refused_password_is_told_whatever_the_other_attempts_met(
    reasons: tuple[str, ...],
) -> None:
    assert f"127.0.0.1:1: {REFUSED}: check" in said(*reasons)


@pytest.mark.parametrize("reasons", permutations([HUNG_UP, TIMED_OUT]))
def test_a_hang_up_says_more_than_a_time_out(reasons: tuple[str, ...]) -> None:
    assert "wrong user, password" in said(*reasons)


def test_without_a_logged_reason_the_error_itself_is_told() -> None:
    assert TIMED_OUT in said()
