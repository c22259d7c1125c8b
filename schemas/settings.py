"""Settings: one frozen model for each stage and service, taken by them as it is.

Every field has a description with its unit: ``affectstream config --explain`` and the reference
page are made from them. The order of the fields is that of a run's fingerprint: add at the end.
"""

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from schemas.strict import Frozen

Licence = Literal["open", "research"]


class Settings(Frozen):
    """A group of settings; a number among them is finite."""

    model_config = ConfigDict(allow_inf_nan=False)


class ModelSettings(Settings):
    """One recogniser: its model, and the device that it runs on."""

    model: str = Field(
        description="Model folder, Hugging Face id (with `card`), or `constant` for load tests"
    )
    card: str | None = Field(
        default=None, description="Path of the card.json of a model whose folder holds none"
    )
    device: str = Field(
        default="cpu", description="Torch device, such as cpu or cuda:0; one that is missing fails"
    )


class Windows(Settings):
    """Fixed windows of event time, and the shards that hold them."""

    length_s: float = Field(
        default=5.0, ge=0.001, description="Length of a window, in seconds; milliseconds count"
    )
    lateness_s: float = Field(
        default=60.0,
        ge=0,
        description="How long after its end a window still takes late events, in seconds",
    )
    shards: int = Field(
        default=8, ge=1, le=1024, description="Number of groups that subjects are divided into"
    )


class Decisions(Settings):
    """How the history follows what is shown, and how long a decision is valid."""

    follow: float = Field(
        default=0.6, gt=0, le=1, description="Weight of a new window in the smoothed scores, 0 to 1"
    )
    margin: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="By how much probability (0 to 1) an expression must beat the current one",
    )
    drift: float = Field(
        default=0.1, ge=0, le=1, description="Weight of a new window in the baseline, 0 to 1"
    )
    max_change: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="Largest change of intensity (0 to 1) from one window to the next",
    )
    forget_s: float = Field(
        default=120.0, gt=0, description="Silence after which a history starts anew, in seconds"
    )
    valid_s: float = Field(
        default=30.0,
        gt=0,
        description="How long after its window's end a decision is valid, in seconds",
    )


class Media(Settings):
    """Media that events name by `dataref`: where they may be fetched from, and how much."""

    places: tuple[str, ...] = Field(
        default=(),
        description=(
            "URIs ending in a slash, such as https://media.example/clips/ or file:///media/; "
            "without any, an event that names its media is a dead letter"
        ),
    )
    max_bytes: int = Field(default=8_000_000, gt=0, description="Largest size of one, in bytes")
    timeout_s: float = Field(
        default=5.0, gt=0, description="How long fetching one may take, in seconds"
    )

    @field_validator("places")
    @classmethod
    def _end_in_a_slash(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for place in given:
            if not place.startswith(("http://", "https://", "file:///")) or place[-1] != "/":
                message = (
                    f"{place!r} is not a place to fetch from: give an http, https or file URI that "
                    "ends in a slash"
                )
                raise ValueError(message)
        return given


class Kafka(Settings):
    """The broker, how to reach it, and the rules of event time."""

    bootstrap: str = Field(
        default="127.0.0.1:9092", description="Brokers to ask first, host:port, comma-separated"
    )
    group: str = Field(
        default="affectstream", description="Consumer group, and the name of the job"
    )
    ca_file: Path | None = Field(
        default=None, description="PEM file of the authority that signed the brokers; turns on TLS"
    )
    username: str | None = Field(default=None, description="User of SCRAM-SHA-512")
    password_file: Path | None = Field(
        default=None,
        description="File that holds the user's password alone; every machine of a job reads it",
    )
    delay_s: float = Field(
        default=2.0,
        ge=0,
        description="How far out of order events may come: the watermark is so far behind, in "
        "seconds",
    )
    idle_s: float = Field(
        default=3.0,
        ge=0,
        description="How long a partition that was read to its end brings nothing before it "
        "follows the clock, `delay_s` behind, in seconds",
    )
    clock_offset_s: float = Field(
        default=0.0, description="Event clock minus wall clock, in seconds, for an old log"
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> "Kafka":
        if (self.username is None) != (self.password_file is None):
            message = "`username` and `password_file` belong together: give both, or neither"
            raise ValueError(message)
        return self


class Live(Settings):
    """The streaming job: where it runs and what it keeps."""

    state: Path = Field(
        default=Path("build/live"), description="Folder of the job's checkpoints, settings and logs"
    )
    jars: Path = Field(default=Path("build/flink"), description="Folder that `make flink` fetches")
    flink_master: str = Field(
        default="[local]", description="REST host:port of a Flink cluster; [local]: this machine"
    )
    java_environment: Literal["EMBEDDED", "DOCKER"] = Field(
        default="EMBEDDED",
        description="Where the Kafka source runs: in Flink's JVM, or in docker for other runners",
    )
    parallelism: int = Field(default=1, ge=1, description="Number of slots that the job takes")
    workers: int = Field(default=1, ge=1, description="Number of Python worker processes")
    checkpoint_s: float = Field(
        default=2.0, gt=0, description="Time between checkpoints, in seconds"
    )
    commit_s: int = Field(  # Beam's trigger takes whole seconds
        default=2,
        ge=0,
        description="How long rows that nobody waits for are collected for one commit, in seconds",
    )
    tries: int = Field(
        default=3,
        ge=1,
        description="Number of failed starts, in a row or an hour, that are endured",
    )
    bootstrap: bool = Field(
        default=False,
        description="Take the history of decisions from the tables where the job has none yet",
    )
    least_free_mb: int = Field(
        default=500, ge=0, description="Free space under which the job is drained, in MB of a disk"
    )
