"""Every error that a user can meet: stable codes for rows, exceptions for a broken world."""

from enum import StrEnum


class AffectstreamError(Exception):
    """A broken world, told in one sentence that says what is wrong and what to do."""


class BrokerAwayError(AffectstreamError):
    """Kafka does not answer, which may pass: a live job waits for it."""


class BrokenStageError(AffectstreamError):
    """A stage fails on record after record: not they are at fault."""


class DeadLetterCode(StrEnum):
    """Why a record could not become an event or an observation.

    The codes are stable: dashboards and replays hang on them. A record that fails an
    expectation carries ``expectation_failed`` and the expectation's name in its detail; one that
    made a stage raise, or workers die, ``poison``.
    """

    UNKNOWN_TOPIC = "unknown_topic"
    UNKNOWN_EVENT_TYPE = "unknown_event_type"
    GOVERNANCE_UNREADABLE = "governance_unreadable"
    GRANT_UNKNOWN_NAME = "grant_unknown_name"
    ID_REUSED = "id_reused"
    NULL_VALUE = "null_value"
    BAD_HEADERS = "bad_headers"
    BAD_TIME = "bad_time"
    CLOCK_AHEAD = "clock_ahead"
    LATE = "late"
    BAD_JSON = "bad_json"
    WRONG_TYPE = "wrong_type"
    EXPECTATION_FAILED = "expectation_failed"
    MEDIA_PLACE_REFUSED = "media_place_refused"
    MEDIA_UNREACHABLE = "media_unreachable"
    MEDIA_TOO_LARGE = "media_too_large"
    AUDIO_UNDECODABLE = "audio_undecodable"
    AUDIO_TOO_LONG = "audio_too_long"
    IMAGE_UNDECODABLE = "image_undecodable"
    RECOGNISER_FAILED = "recogniser_failed"
    POISON = "poison"


class UndecodableError(Exception):
    """A payload that can't be decoded: its code, and a detail that holds nothing of it."""

    def __init__(self, code: DeadLetterCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class QualityCode(StrEnum):
    """What keeps a recogniser from judging a payload well; the confidence is lowered by how much.

    No speech, no face, too short a clip, a text in another language than the model's and one of
    nothing but placeholders lower it to chance, so the recogniser abstains.
    """

    NO_SPEECH = "no_speech"
    TOO_SHORT = "too_short"
    CLIPPED = "clipped"
    NOISY = "noisy"
    NARROW_BAND = "narrow_band"
    NO_FACE = "no_face"
    SMALL_FACE = "small_face"
    BLURRED = "blurred"
    TURNED = "turned"
    BADLY_LIT = "badly_lit"
    OTHER_LANGUAGE = "other_language"
    TOO_LONG = "too_long"


class RefusalCode(StrEnum):
    """Why the gate turned an event away; a policy refusal is never retried."""

    NOTICE_MISSING = "notice_missing"
    PURPOSE_UNKNOWN = "purpose_unknown"
    REGION_UNKNOWN = "region_unknown"
    SCENARIO_UNKNOWN = "scenario_unknown"
    AGE_BAND_UNKNOWN = "age_band_unknown"
    MODALITY_UNKNOWN = "modality_unknown"
    PURPOSE_PROHIBITED = "purpose_prohibited"
    MINOR_BIOMETRIC = "minor_biometric"
    CONSENT_UNKNOWN = "consent_unknown"
    CONSENT_WITHDRAWN = "consent_withdrawn"
