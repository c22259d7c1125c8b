"""Access lists of the broker: who may write which topic, and who may read it."""

from collections.abc import Iterable, Iterator

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)

from pipelines.kafka.clients import python_settings
from pipelines.kafka.reasons import explain_kafka_error
from pipelines.kafka.topics import FEED, FEED_POSITION, FEED_TRANSACTIONS
from pipelines.kafka.users import Users
from schemas.errors import AffectstreamError
from schemas.events import CONTEXTS, GOVERNANCE, SESSIONS, TOPICS
from schemas.settings import Kafka

_READ, _WRITE = ACLOperation.READ, ACLOperation.WRITE
_ALLOW = ACLPermissionType.ALLOW
_EXACT, _PREFIX = ACLResourcePatternType.LITERAL, ACLResourcePatternType.PREFIXED


def create_acls(kafka: Kafka, users: Users) -> list[str]:
    """Give each user the rights of its role, and return the rights that others have besides.

    A topic with an access list is closed to all whom it does not name, whatever the broker does
    with topics without one. Rights of others are not taken away: each is a sentence.

    Raises:
        AffectstreamError: no job is named, or the broker has no access lists or refuses.
    """
    if users.job is None:
        message = "`users.job` is missing: name the user of the live job, which reads all topics"
        raise AffectstreamError(message)
    wanted = [*_rights(kafka.group, users.job, users)]
    with explain_kafka_error(kafka):
        admin = KafkaAdminClient(**python_settings(kafka))
        try:
            if failed := admin.create_acls(wanted)["failed"]:
                reasons = ", ".join(sorted({error.__name__ for error in failed}))
                message = (
                    f"the broker does not take access lists ({reasons}): start it with "
                    "`authorizer.class.name`, and give a user in `kafka` that may ALTER the cluster"
                )
                raise AffectstreamError(message)
            found = {right for name in _topics() for right in _rights_to(admin, name)}
        finally:
            admin.close()
    return sorted(_describe(right) for right in found - set(wanted))


def _topics() -> tuple[str, ...]:
    return (*TOPICS, FEED, FEED_POSITION)


def _rights(group: str, job: str, users: Users) -> Iterator[ACL]:
    """Yield all rights: reading and writing imply describing."""
    yield from _allow(job, _READ, TOPICS)
    for operation in (_READ, _WRITE):
        yield from _allow(job, operation, (FEED, FEED_POSITION))
    yield from _allow(job, _READ, [group], ResourceType.GROUP, _PREFIX)
    yield from _allow(job, _WRITE, [FEED_TRANSACTIONS], ResourceType.TRANSACTIONAL_ID, _PREFIX)
    for user in users.governance:
        yield from _allow(user, _WRITE, GOVERNANCE)
    for user in users.sessions:
        yield from _allow(user, _WRITE, (*SESSIONS, *CONTEXTS))
    for user in users.recommenders:
        yield from _allow(user, _READ, [FEED])
        yield from _allow(user, _READ, [user], ResourceType.GROUP, _PREFIX)


def _allow(
    user: str,
    operation: ACLOperation,
    names: Iterable[str],
    kind: ResourceType = ResourceType.TOPIC,
    pattern: ACLResourcePatternType = _EXACT,
) -> Iterator[ACL]:
    for name in names:
        resource = ResourcePattern(kind, name, pattern)
        yield ACL(f"User:{user}", "*", operation, _ALLOW, resource)


def _rights_to(admin: KafkaAdminClient, topic: str) -> list[ACL]:
    """Return what anybody is allowed on a topic, by patterns that match its name too."""
    pattern = ResourcePatternFilter(ResourceType.TOPIC, topic, ACLResourcePatternType.MATCH)
    asked = ACLFilter(None, None, ACLOperation.ANY, _ALLOW, pattern)
    found, _ = admin.describe_acls(asked)
    return list(found)


def _describe(right: ACL) -> str:
    resource = right.resource_pattern
    prefix = " and all that begin so" if resource.pattern_type is _PREFIX else ""
    return (
        f"{right.principal} may {right.operation.name} topic {resource.resource_name}{prefix}: "
        "take that right away unless it is meant"
    )
