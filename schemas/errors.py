"""Every error that a user can meet: stable codes for rows and logs, exceptions for the rest."""

from enum import StrEnum
from typing import Self


class AffectstreamError(Exception):
    """A broken world, told in one sentence that says what is wrong and what to do."""


class BrokerAwayError(AffectstreamError):
    """Kafka does not answer, which may pass: a live job waits for it."""


class BrokenStageError(AffectstreamError):
    """A stage fails on record after record: not they are at fault."""


class Code(StrEnum):
    """A stable code with what it means and what to do about it; the reference page is made of it.

    A member is its code alone wherever it is compared, stored or printed.
    """

    meaning: str
    cure: str

    def __new__(cls, code: str, meaning: str, cure: str) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        member.cure = cure
        return member


class DeadLetterCode(Code):
    """Why a record could not become an event or an observation.

    The codes are stable: dashboards and replays depend on them.
    """

    UNKNOWN_TOPIC = (
        "unknown_topic",
        "No kind of event belongs to the record's topic.",
        "Send the event to one of the topics that `affectstream topics create` makes.",
    )
    UNKNOWN_EVENT_TYPE = (
        "unknown_event_type",
        "The CloudEvents `type` is not the one that the topic carries.",
        "Set `type` to the topic's name with `.v1`, such as `session.text.v1`.",
    )
    GOVERNANCE_UNREADABLE = (
        "governance_unreadable",
        "A consent or erasure record names nobody, or may name more people than could be read: "
        "more than 16 in one event, more than 1,000 events, or damaged ones.",
        "Look at once: somebody may have withdrawn consent. Find the record by its topic, "
        "partition and offset, find out whom it is about, and send it again with that `subject`.",
    )
    CONSENT_UNCLEAR = (
        "consent_unclear",
        "A consent record says neither `granted: true` nor `granted: false` where they are read, "
        "or both, or part of it is unreadable: it counts as a withdrawal by all whom it names.",
        "Find the record by its place; if somebody consented, send one event with a clear grant.",
    )
    GRANT_UNKNOWN_NAME = (
        "grant_unknown_name",
        "A grant lists a purpose or modality that nobody knows; the rest of it counts.",
        "Correct the name in the client, or list the purpose in the gate's policy.",
    )
    SIGNATURE_MISSING = (
        "signature_missing",
        "A grant has no signature, which `signatures.keys` asks for: it opens nothing.",
        "Sign consents in the service that sends them: the page on who may speak shows how.",
    )
    SIGNATURE_UNKNOWN_KEY = (
        "signature_unknown_key",
        "A grant is signed with a key that its `source` does not have.",
        "Add the public key to the file that `signatures.keys` names, if it is that source's.",
    )
    SIGNATURE_INVALID = (
        "signature_invalid",
        "The signature of a grant is malformed, or not of these attributes and this payload.",
        "Sign what is sent, byte for byte; where a service in between rewrites events, sign there. "
        "If nobody can explain it, somebody may be forging consents.",
    )
    PROHIBITION_UNSIGNED = (
        "prohibition_unsigned",
        "No signature makes a withdrawal or an erasure request sure: it suspends, deletes nothing.",
        "Ask whom it names. If it is theirs, send it signed, or erase with `affectstream erase`; "
        "if not, a signed grant opens the gate again.",
    )
    GRANT_NEEDS_GUARDIAN = (
        "grant_needs_guardian",
        "A child granted consent itself; the grant counts for nothing.",
        'Ask the guardian, and send the grant with `"given_by": "guardian"`.',
    )
    ID_REUSED = (
        "id_reused",
        "The event's id already stands for other content of the same subject and minute.",
        "Give every event an id of its own; send the same id again only for a repetition.",
    )
    NULL_VALUE = (
        "null_value",
        "The record has no value.",
        "Send the payload; only voice and face events may name their media by `dataref` instead.",
    )
    BAD_HEADERS = (
        "bad_headers",
        "`id` or `source` is missing or empty, or an attribute is not UTF-8, or it stands twice "
        "with different values.",
        "Send each CloudEvents attribute once, as UTF-8, with an `id` and a `source`.",
    )
    BAD_TIME = (
        "bad_time",
        "`time` is not an RFC 3339 time with a zone, in the years 1000 to 8999, or the record's "
        "own Kafka time is outside those years.",
        "Send times such as `2026-11-30T18:00:00Z`, with at most nine decimals of a second.",
    )
    CLOCK_AHEAD = (
        "clock_ahead",
        "The event's time is more than 60 s ahead of its record's time in Kafka.",
        "Set the clock of the device that sends; to publish an old log beside a live job, use "
        "`affectstream publish --retime`.",
    )
    CLOCK_BEHIND = (
        "clock_behind",
        "The event's time is further behind its record's than `clocks.behind_s` allows.",
        "Set the clock of the device that sends; if it had queued the event, raise the setting.",
    )
    KEY_SHREDDED = (
        "key_shredded",
        "The event is of a time whose key was removed by `affectstream keys shred`.",
        "Nothing: rows that refer to nobody would be made. Leave such records out of the log.",
    )
    LATE = (
        "late",
        "The event came after its window and the allowed lateness had passed in its partition.",
        "Send sooner, or raise `windows.lateness_s`; a replay of the recorded log takes the event.",
    )
    BAD_JSON = (
        "bad_json",
        "The payload is not one JSON object, or a member of a grant stands in it twice.",
        "Send one JSON object in UTF-8; `NaN` and `Infinity` are not JSON.",
    )
    WRONG_TYPE = (
        "wrong_type",
        "A field of the payload has another type than its JSON Schema says.",
        "Check the payload against the topic's schema in `schemas/json`.",
    )
    BATCHED_EVENTS = (
        "batched_events",
        "The record holds several events: a JSON array, or one behind the other. None is read, "
        "since each record of Kafka is one event, by which it is found, repeated and erased.",
        "Send each event as a record of its own; Kafka's client batches records itself.",
    )
    COMPRESSED_VALUE = (
        "compressed_value",
        "The value is compressed in a way that is not read (Zstandard, LZ4, Snappy, bzip2, xz, "
        "ZIP), or its gzip is damaged or inflates to more than 64 KiB.",
        "Send plain JSON, and let Kafka's client compress: `compression.type`.",
    )
    SCHEMA_REGISTRY_FORMAT = (
        "schema_registry_format",
        "The value begins with the id of a schema registry, and what follows is no JSON: Avro, "
        "Protobuf or text.",
        "Use the registry's serialiser for JSON Schema, or send plain JSON.",
    )
    FORMAT_UNSUPPORTED = (
        "format_unsupported",
        "The event or its data are in another format than JSON, such as Avro, Protobuf or XML.",
        "Send `application/cloudevents+json`, or binary mode with JSON as its data.",
    )
    SPECVERSION_UNKNOWN = (
        "specversion_unknown",
        "The event's `specversion` is not 1.0.",
        "Send events of CloudEvents 1.0; SDKs let you choose the version.",
    )
    DATASCHEMA_UNKNOWN = (
        "dataschema_unknown",
        "The event's `dataschema` names another major version of its schema than 1.",
        "Send the payload of version 1, as `schemas/json` has it, and its `dataschema` or none.",
    )
    UNKNOWN_SHAPES = (
        "unknown_shapes",
        "No name among the `weights` of a motion event is a shape that is known.",
        "Send ARKit's names, or those of another vocabulary in `schemas/motion`.",
    )
    UNKNOWN_UNIT = (
        "unknown_unit",
        "The unit of motion `weights` is not known: none or a wrong one is said.",
        "Send `unit` beside `weights`: `fraction`, `percent`, `byte` or `signed` (-1 to 1).",
    )
    EXPECTATION_FAILED = (
        "expectation_failed",
        "A value is outside what the event's expectations allow; `detail` says which, and what is.",
        "Correct the value, or change the expectation in `schemas/expectations/events`.",
    )
    TOO_MANY_EVENTS = (
        "too_many_events",
        "One subject sent more events in a window than are taken.",
        "Find out what sends so many; if they are all real, raise `limits.events_per_s`.",
    )
    MEDIA_PLACE_REFUSED = (
        "media_place_refused",
        "`dataref` names media in a place that is not allowed.",
        "Add the place to `media.places` if it is yours.",
    )
    MEDIA_UNREACHABLE = (
        "media_unreachable",
        "The media that `dataref` names could not be fetched.",
        "Check the host and the file, then replay the log; keep media as long as the log.",
    )
    MEDIA_TOO_LARGE = (
        "media_too_large",
        "The media that `dataref` names are larger than `media.max_bytes`.",
        "Send shorter clips or smaller images, or raise `media.max_bytes`.",
    )
    AUDIO_UNDECODABLE = (
        "audio_undecodable",
        "The clip is broken, cut off or of an unusual codec, or has more than 8 channels.",
        "Send WAV, FLAC, Ogg, MP3, AIFF, WebM or MP4 at a usual rate, and whole files.",
    )
    AUDIO_TOO_LONG = (
        "audio_too_long",
        "The clip is longer than 15 s, or all its channels together are.",
        "Cut speech into shorter clips before it is sent.",
    )
    IMAGE_UNDECODABLE = (
        "image_undecodable",
        "The image cannot be read, or claims an absurd size.",
        "Send whole JPEG, PNG, WebP, GIF, AVIF or HEIC images of at most 4096 × 4096 pixels.",
    )
    DECODER_MISSING = (
        "decoder_missing",
        "The media are of a format that this installation cannot read.",
        "Install it on every worker, `pip install affectstream[media]`, and replay the log.",
    )
    RECOGNISER_FAILED = (
        "recogniser_failed",
        "The recogniser had no payload, or gave no finite scores for it.",
        "See the detail; if it happens often, check the model with `affectstream evaluate`.",
    )
    POISON = (
        "poison",
        "The record made a stage raise, or workers die, whatever else was in its batch.",
        "Find the record by its place and the lines of code in `worker.log`; report it as a fault "
        "of that stage, and replay the record when it is fixed.",
    )


class UndecodableError(Exception):
    """A payload that can't be decoded: its code, and a detail that holds nothing of it."""

    def __init__(self, code: DeadLetterCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class QualityCode(Code):
    """What keeps a recogniser from judging a payload well; the confidence is lowered by how much.

    No speech, no face, too short a clip, a text in another language than the model's and one
    without words of its own lower it to chance, so the recogniser abstains.
    """

    NO_SPEECH = ("no_speech", "Nobody speaks in the clip.", "Send clips with speech only.")
    TOO_SHORT = ("too_short", "The clip is too short to judge.", "Send whole utterances.")
    EMPTY = (
        "empty",
        "The text has no words of the writer's: only space, links, mentions or quotations.",
        "Send such texts or leave them out; nothing can be read in them.",
    )
    CLIPPED = ("clipped", "The speech is cut off at full scale.", "Lower the microphone's gain.")
    NOISY = ("noisy", "Noise covers the speech.", "Suppress noise before the clip is sent.")
    HUM = ("hum", "A hum or tone sounds under the speech.", "Ground the microphone, or filter it.")
    COARSE = (
        "coarse",
        "The samples have so few values that rounding covers the speech.",
        "Send 16 bits a sample, and raise the level before it is rounded.",
    )
    BACKGROUND = (
        "background",
        "A room, music or other voices sound on behind the speech.",
        "Speak closer to the microphone, or suppress what is behind.",
    )
    SEVERAL_VOICES = (
        "several_voices",
        "The channels of the clip carry different voices; the clearest was judged.",
        "Send each person's channel as an event of its own.",
    )
    NARROW_BAND = (
        "narrow_band",
        "The speech lacks the upper frequencies, as over a telephone.",
        "Send at least 16,000 samples a second.",
    )
    NO_FACE = ("no_face", "No face was found.", "Send images with a face that looks forward.")
    SMALL_FACE = ("small_face", "The face is small.", "Send a larger crop of the face.")
    BLURRED = ("blurred", "The face is blurred.", "Send sharper images.")
    TURNED = ("turned", "The face is turned away.", "Send images with a face that looks forward.")
    BADLY_LIT = ("badly_lit", "The image is too dark or burnt out.", "Correct the exposure.")
    SEVERAL_FACES = (
        "several_faces",
        "More than one face is in the image: nobody can tell whose was meant.",
        "Send a crop with the subject's face alone.",
    )
    COVERED = ("covered", "Mouth or eyes are covered, as by a mask.", "Send images of bare faces.")
    ROTATED = (
        "rotated",
        "The face lay on its side or head, and was turned back.",
        "Send images upright, or keep their EXIF orientation.",
    )
    OTHER_LANGUAGE = (
        "other_language",
        "The text is in a language that the model's card does not list.",
        "Name a model for that language under `models.text`.",
    )
    NONE_OF_THESE = (
        "none_of_these",
        "The model finds another answer, or none, likelier than all expressions together.",
        "Map more of its labels in its card, or name a model of these expressions.",
    )
    TOO_LONG = (
        "too_long",
        "More than half of the text stands after the 64 tokens that are read.",
        "Send one utterance for each event.",
    )
    FEW_SHAPES = ("few_shapes", "Shapes that tell expressions apart are not known.", "Send all.")
    OPPOSED_SHAPES = ("opposed_shapes", "Shapes contradict each other or a unit.", "Send one unit.")


class RefusalCode(Code):
    """Why the gate turned an event away; a policy refusal is never retried."""

    ERASED = (
        "erased",
        "The subject was erased, and has not consented since; the row does not say who it is.",
        "Stop sending events of that person, or send a consent that was given after the erasure.",
    )
    NOTICE_MISSING = (
        "notice_missing",
        "The event does not say which notice the subject saw.",
        "Show the notice, and send its id as `noticeid`.",
    )
    PURPOSE_UNKNOWN = (
        "purpose_unknown",
        "No rule of the policy is about the event's purpose, or about this case.",
        "Send a purpose that the policy lists, or add a rule for it.",
    )
    REGION_UNKNOWN = (
        "region_unknown",
        "The policy does not list the subject's region.",
        "Send a region that the policy lists, or add it with its rules.",
    )
    SCENARIO_UNKNOWN = (
        "scenario_unknown",
        "The policy does not list the event's scenario.",
        "List the scenario in the gate's policy, and in a rule that allows it.",
    )
    AGE_BAND_UNKNOWN = (
        "age_band_unknown",
        "The policy does not list the subject's age band.",
        "Send `child`, `teen`, `adult` or `unknown` as `ageband`.",
    )
    MODALITY_UNKNOWN = (
        "modality_unknown",
        "The policy does not list the event's modality.",
        "List the modality in the gate's policy, and in a rule that allows it.",
    )
    PURPOSE_PROHIBITED = (
        "purpose_prohibited",
        "A law prohibits this use; `article` names it.",
        "Stop sending such events: consent does not make them lawful.",
    )
    EVIDENCE_MISSING = (
        "evidence_missing",
        "The law allows this only with evidence that is not on record; `article` names the law.",
        "Write the evidence into the file that the setting `evidence` names, or stop this use.",
    )
    MINOR_BIOMETRIC = (
        "minor_biometric",
        "Voice, face or motion of a person who is, or may be, a minor.",
        "Send `ageband: adult` only for people whose age you know; leave the others out.",
    )
    CONSENT_UNKNOWN = (
        "consent_unknown",
        "No consent of this subject to this purpose and modality is on record.",
        "Ask the subject, and send the answer to `governance.consent` before the first event.",
    )
    CONSENT_INSUFFICIENT = (
        "consent_insufficient",
        "There is a consent, but not such as `article` asks for: of a guardian, with a notice of "
        "its own, or by the names of purpose and modality.",
        "Ask again as the article says, and send that grant to `governance.consent`.",
    )
    CONSENT_WITHDRAWN = (
        "consent_withdrawn",
        "The subject has withdrawn consent, or asked for erasure.",
        "Stop sending events of this subject; a new grant opens the gate again.",
    )
