"""The events of the structured log."""

from typing import Any

from schemas.errors import Code


class LogEvent(Code):
    """What a line of a structured log is about."""

    JOB_STATUS = (
        "job_status",
        "State, rate, lag and watermark delay of a live job, every ten seconds.",
        "Nothing.",
    )
    JOB_RESTARTING = (
        "job_restarting",
        "The job ended and is started again.",
        "If it happens often, look for the error in `job.log` and `worker.log`.",
    )
    BROKER_AWAY = (
        "broker_away",
        "Kafka does not answer; the job waits for it for ten minutes.",
        "Start the broker, or restore the network.",
    )
    BROKER_BACK = ("broker_back", "Kafka answers again.", "Nothing.")
    CONSENT_UNREADABLE = (
        "consent_unreadable",
        "Consent or erasure records name nobody, so somebody may have withdrawn unheard.",
        "Look up code `governance_unreadable` in `dead_letters` at once.",
    )
    METRICS_OFF = (
        "metrics_off",
        "The address of the metrics cannot be listened on; the job runs without them.",
        "Name another `observe.port`, or 0 for no metrics.",
    )
    STAGE_RAISED = (
        "stage_raised",
        "A stage raised on some rows; they are tried again, and poison among them is set aside.",
        "Nothing, unless `record_poison` follows.",
    )
    RECORD_POISON = (
        "record_poison",
        "A record that makes a stage raise, or workers die, was set aside as a dead letter.",
        "Find the record by its place, and report it as a fault of that stage.",
    )
    MODEL_KEPT = (
        "model_kept",
        "A model's new files cannot be used; the job goes on with the model that it has.",
        "See the reason; write the folder's files first, and its card last.",
    )
    OTHER = (
        "other",
        "Anything else, above all of libraries; without the values in its message.",
        "See the plain text of the same process's log where it is not enough.",
    )


def log_fields(event: LogEvent, **values: Any) -> dict[str, Any]:
    """Return the ``extra`` of a call of a logger; no value may be a payload or a raw id."""
    return {"event": event, "fields": values}
