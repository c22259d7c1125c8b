"""What a live job needs, opened before it starts, so that what is wrong is said in one sentence."""

import shutil

from kafka import KafkaConsumer

from model_serving.fusion import load_fusion
from model_serving.recogniser import load_recogniser
from pipelines.config import Config
from pipelines.kafka_clients import partitions_of, python_settings
from pipelines.topics import need_topics, told
from schemas.errors import AffectstreamError
from schemas.events import TOPICS
from schemas.vocabularies import MODALITIES
from transforms.decide import read_scenarios
from transforms.gate import read_policy
from transforms.land import prepare_tables
from transforms.pseudonymise import read_keys


def check_live(config: Config) -> None:
    """Open keys, policies, models, tables, jars and topics.

    Raises:
        AffectstreamError: one of them cannot be used.
    """
    read_keys(config.keys)
    read_policy(config.policy)
    read_scenarios(config.scenarios)
    check_java(config)
    check_topics(config)
    for modality in MODALITIES:
        chosen = getattr(config.models, modality)
        load_recogniser(modality, chosen.model, chosen.card, chosen.device)
    load_fusion(config.models.fusion)
    prepare_tables(config.tables)


def check_java(config: Config) -> None:
    """Raise where Java or the runner's jars are missing."""
    if shutil.which("java") is None:
        message = "java is missing: apt-get install -y openjdk-17-jdk-headless maven"
        raise AffectstreamError(message)
    if not (config.live.jars / "jobserver.jar").is_file():
        message = f"{config.live.jars} has no jobserver.jar: run `make flink`"
        raise AffectstreamError(message)


def check_topics(config: Config) -> None:
    """Raise where a topic is missing, or holds less than the job has read of it already."""
    need_topics(config.kafka, TOPICS)
    with told(config.kafka):
        consumer = KafkaConsumer(
            **python_settings(config.kafka),
            group_id=config.kafka.group,
            enable_auto_commit=False,
        )
        try:
            _check_offsets(consumer)
        finally:
            consumer.close()


def _check_offsets(consumer: KafkaConsumer) -> None:
    """Compare the offsets that the group has read with what the topics hold."""
    partitions = partitions_of(consumer, TOPICS)
    ends = consumer.end_offsets(partitions)
    begins = consumer.beginning_offsets(partitions)
    for tp in partitions:
        read = consumer.committed(tp)
        if read is not None and not begins[tp] <= read <= ends[tp]:
            message = (
                f"topic {tp.topic}, partition {tp.partition}, holds offsets {begins[tp]} to "
                f"{ends[tp]}, but the job goes on at {read}: the topic was cut or made anew; start "
                "anew with `--state` naming a new folder; what has landed is not landed twice"
            )
            raise AffectstreamError(message)
