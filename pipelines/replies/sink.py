"""The sink of replies: makes them after their decisions have landed, and sends them to the feed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from model_serving.loader import load_recogniser
from model_serving.reply.candidates import CausalReplies
from model_serving.reply.card import AdapterCard, read_adapter_card
from model_serving.reply.hazard_net import load_hazard_net
from model_serving.reply.replier import Replier
from model_serving.reply.suits import Suitability
from model_serving.reply.weights import load_causal
from pipelines.config import Config
from pipelines.replies.counts import HAZARDS, OUTCOMES
from pipelines.replies.events import REPLY_COLUMNS, SUFFIX, ReplyEvents
from pipelines.serve.events import Event
from pipelines.serve.kafka_sink import KafkaSink
from schemas.errors import AffectstreamError
from schemas.settings import Feed, Kafka


class ReplySink(KafkaSink):
    """Follows the decisions at a position of its own, and sends the replies to them.

    It has its own thread, as every sink: decisions go out without waiting for a reply.
    """

    name = "replies"
    tables: ClassVar[Mapping[str, Sequence[str]]] = {"expression_decisions": REPLY_COLUMNS}
    suffix = SUFFIX

    def __init__(
        self, kafka: Kafka, feed: Feed, now: Callable[[], datetime], replies: ReplyEvents
    ) -> None:
        """Find the position of the replies, as ``KafkaSink`` does that of the decisions."""
        own = feed.model_copy(update={"name": f"{feed.name}-replies"})
        super().__init__(kafka, own, now)
        self._replies = replies

    def _events(self, rows: pa.Table) -> Iterator[Event]:
        """Return the events once all are made: no open transaction waits for a reply."""
        return iter(list(self._replies.events(rows)))


def load_replies(config: Config, now: Callable[[], datetime]) -> ReplyEvents:
    """Load the model that the settings name.

    Raises:
        AffectstreamError: it is missing, or may not be used under the licence asked for.
    """
    settings = config.replies
    card = None if settings.adapter is None else _check_adapter(config, settings.adapter)
    net, tokenizer = load_causal(
        str(settings.model), settings.revision, settings.adapter, precision=settings.precision
    )
    load_hazard_net()
    text = config.models.text
    recogniser = load_recogniser("text", text.model, text.card, text.device)
    return ReplyEvents(
        replier=Replier(
            CausalReplies(net, tokenizer, settings.candidates),
            settings.budget_s,
            Suitability(recogniser),
            counts=OUTCOMES,
            hazards=HAZARDS,
        ),
        language=settings.language,
        strategies=settings.strategies,
        made_by=card.model_id if card else str(settings.model),
        now=now,
    )


def _check_adapter(config: Config, folder: Path) -> AdapterCard:
    settings = config.replies
    card = read_adapter_card(folder)
    if config.licence == "open" and card.licence != "open":
        message = (
            f"`licence: open` refuses the adapter {card.model_id}, which is for research only: "
            "leave `replies.adapter` out, or set `licence: research`"
        )
        raise AffectstreamError(message)
    if card.language != settings.language:
        message = (
            f"the adapter {card.model_id} replies in {card.language}, and `replies.language` is "
            f"{settings.language}: name another adapter, or its language"
        )
        raise AffectstreamError(message)
    return card
