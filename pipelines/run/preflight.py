"""Opens what a run needs before it starts, so that a fault is one sentence."""

from typing import TYPE_CHECKING

from pipelines.config import Config, Models, check_agreement
from pipelines.kafka.topics import check_topics
from pipelines.run.config_check import java_problems
from schemas.errors import AffectstreamError
from schemas.keys import read_keys
from schemas.modalities import MODALITIES
from transforms.decoding.signatures import read_signers
from transforms.gating.policy import read_policy
from transforms.landing.made_under import check_made_under, note_made_under
from transforms.landing.prepare import prepare_tables

if TYPE_CHECKING:
    from model_serving.recogniser import Recogniser


def check_live(config: Config) -> None:
    """Open keys, policies, jars, tables, topics and models.

    Raises:
        AffectstreamError: one of them cannot be used.
    """
    check_files(config)
    check_topics(config.kafka)
    load_models(config.models)


def check_files(config: Config) -> None:
    """Open keys, policies, jars and tables: what a live job may lose while it runs.

    Raises:
        AffectstreamError: one of them cannot be used.
    """
    check_rules(config)
    check_java(config)
    prepare_tables(config.tables)
    note_made_under(config.tables, read_keys(config.keys))


def check_rules(config: Config) -> None:
    """Check that settings agree and keys fit the tables, and read the policy and the scenarios."""
    check_agreement(config)
    check_made_under(config.tables, read_keys(config.keys))
    read_policy(config.policy, config.scenarios, config.evidence)
    if config.signatures.keys:
        read_signers(config.signatures.keys)


def check_java(config: Config) -> None:
    """Raise where Java or the runner's jars are missing."""
    for problem in java_problems(config.live):
        raise AffectstreamError(problem)


def load_models(models: Models) -> "dict[str, Recogniser]":
    """Load the fusion model and the recognisers, and return these by modality."""
    # They import torch, which takes seconds: a supervisor that checks files needs none of it.
    from model_serving.fusion import load_fusion  # noqa: PLC0415
    from model_serving.loader import load_recogniser  # noqa: PLC0415

    load_fusion(models.fusion, models.gaps)
    chosen = {modality: models.recogniser(modality) for modality in MODALITIES}
    return {
        modality: load_recogniser(modality, its.model, its.card, its.device, models.gaps)
        for modality, its in chosen.items()
    }
