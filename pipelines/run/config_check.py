"""A configuration and all that it names, opened before any run: without Beam, torch or a write."""

import functools
import json
import os
import re
import shutil
import socket
import ssl
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from pydantic import ValidationError
from rich.text import Text
from safetensors import SafetensorError, safe_open

from model_serving.card import CARD_FILE, CONSTANT, ModelCard, check_files, read_card
from model_serving.gaps import explain_gaps
from model_serving.reply.places import check_adapter, find_source
from pipelines.access.roles import read_roles
from pipelines.config import Config, contradictions, explain, explain_closed_weights, read_settings
from pipelines.replies.settings import Replies
from pipelines.serve.api.token_file import read_tokens
from schemas.errors import AffectstreamError
from schemas.keys import read_keys
from schemas.modalities import MODALITIES
from schemas.settings import Kafka, Live
from schemas.strict import check_regular, read_secret, suggest
from schemas.tables import TABLES
from transforms.deciding.scenarios import read_scenarios
from transforms.decoding.signatures import read_signers
from transforms.gating.policy import read_policy
from transforms.landing.made_under import check_made_under
from transforms.landing.prepare import check_schema
from transforms.landing.repair import unwritable_error
from transforms.sources.recorded import count_records

Problems = Iterator[str]

_REQUIRED = {name for name, field in Config.model_fields.items() if field.is_required()}
_MISSING = "missing"
"""Stands for a required setting that is missing or faulty; what it names is not opened."""
_JARS = ("jobserver.jar", "expansion.jar")
_SQLITE = b"SQLite format 3\0"
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_STORE = {"max_retries": "1", "retry_timeout": "3s", "connect_timeout": "2s", "timeout": "3s"}
"""An object store that does not answer is a problem soon: by default it is asked for minutes."""


def find_problems(path: Path) -> list[str]:
    """Return everything that is wrong with this file and with what it names, a sentence each.

    Torch devices, the broker and models of Hugging Face's hub are left to the run.

    Raises:
        AffectstreamError: the file itself cannot be read.
    """
    settings = read_settings(path)
    problems: list[str] = []
    missing: set[str] = set()
    while True:
        try:
            config = Config.model_validate(settings)
        except ValidationError as error:
            problems += explain(error)
            missing |= _REQUIRED & {str(item["loc"][0]) for item in error.errors()}
            settings = _without_faults(settings, error) | dict.fromkeys(missing, _MISSING)
        else:
            return [*problems, *_open_all(config, missing)]


def _without_faults(settings: dict[str, Any], error: ValidationError) -> dict[str, Any]:
    """Leave out what is wrong, so that what the other settings name can be opened all the same."""
    sound = {str(name): value for name, value in settings.items()}
    for item in error.errors():
        section, *below = map(str, item["loc"])
        given = sound.get(section)
        if below and isinstance(given, dict):
            sound[section] = {n: v for n, v in given.items() if str(n) != below[0]}
        else:
            sound.pop(section, None)
    return sound


def _open_all(config: Config, missing: set[str]) -> Problems:
    """Open what the configuration names, without those that are missing or faulty."""
    yield from contradictions(config)
    if config.log:
        yield from _log_problems(config.log)
    else:
        yield from java_problems(config.live)
        yield from _jar_problems(config.live.jars)
        yield from _place_problems(config.live.state, "live.state")
    unreadable = [] if "tables" in missing else [*_table_problems(config.tables)]
    yield from unreadable
    if "keys" not in missing:
        yield from _key_problems(config, with_tables=not unreadable and "tables" not in missing)
    if (signers := config.signatures.keys) is not None:
        yield from _failure(lambda: read_signers(signers))
    unsound = [*_failure(lambda: read_policy(config.policy))]
    unsound += _failure(lambda: read_scenarios(config.scenarios))
    whole = functools.partial(read_policy, config.policy, config.scenarios, config.evidence)
    unsound = unsound or [*_failure(whole)]
    yield from unsound or (*feed_problems(config), *_landing_problems(config))
    yield from _model_problems(config)
    yield from _reply_problems(config.replies)
    yield from _kafka_problems(config.kafka)
    yield from _secret_problems(config)
    yield from _store_problems(config.online.store)
    yield from _access_problems(config)
    yield from _host_problems(config.api.host)


def _reply_problems(replies: Replies) -> Problems:
    if (model := replies.model) is not None:
        yield from _failure(lambda: find_source(model, replies.revision))
    if (adapter := replies.adapter) is not None:
        yield from _failure(lambda: check_adapter(adapter))


def _failure(read: Callable[[], object]) -> Problems:
    try:
        read()
    except AffectstreamError as error:
        yield str(error)
    except (OSError, UnicodeDecodeError) as error:
        yield f"{error}: make it a file that you may read"


def _log_problems(log: Path) -> Problems:
    def read() -> None:
        if not count_records(log):
            message = f"{log} holds no record: there is nothing to replay"
            raise AffectstreamError(message)

    return _failure(read)


def java_problems(live: Live) -> Problems:
    """Yield what Flink's runner lacks: Java, or one of its jars."""
    if shutil.which("java") is None:
        yield "java is missing: apt-get install -y openjdk-17-jdk-headless maven"
    for name in _JARS:
        if not (live.jars / name).is_file():
            yield f"{live.jars} has no {name}: run `make flink`"


def _jar_problems(jars: Path) -> Problems:
    for path in filter(Path.is_file, (jars / name for name in _JARS)):
        if not zipfile.is_zipfile(path):
            yield f"{path} is not a whole jar: run `make flink` again"


def _place_problems(place: Path, name: str) -> Problems:
    """Yield why a folder can neither be used nor created."""
    folders = (place, *place.absolute().parents)
    # Path.exists would raise below a folder that is closed to this user.
    above = next(folder for folder in folders if os.path.exists(folder))
    if not above.is_dir():
        yield f"`{name}` is {place}, but {above} is a file: name a folder"
    elif not os.access(above, os.W_OK | os.X_OK):
        yield f"`{name}` is {place}, but you may not write to {above}: name another folder"


def _table_problems(root: str) -> Problems:
    remote = "://" in root
    if not remote and not all(os.path.isdir(f"{root}/{name}") for name in TABLES):
        problems = [*_place_problems(Path(root), "tables")]  # tables are to be created in it
        yield from problems
        if problems or not os.path.exists(root):
            return
    for name, table in TABLES.items():
        place = f"{root}/{name}"
        try:
            if DeltaTable.is_deltatable(place, _STORE if remote else None):
                check_schema(table, DeltaTable(place, storage_options=_STORE if remote else None))
        except AffectstreamError as error:
            yield str(error)
            continue
        except (DeltaError, OSError) as error:
            reason = " ".join(Text.from_ansi(str(error)).plain.split())
            yield f"table {name} under {root} cannot be read: {reason}; name tables that can be"
            return
        folders = () if remote else (Path(place), Path(place) / "_delta_log")
        if any(folder.exists() and not os.access(folder, os.W_OK) for folder in folders):
            yield str(unwritable_error(root, name, "it is read-only"))
            return


def _key_problems(config: Config, *, with_tables: bool) -> Problems:
    """Yield why the keys cannot be used, or not with these tables; a store is left to the run."""
    unusable = [*_failure(lambda: read_keys(config.keys))]
    yield from unusable
    if with_tables and not unusable and "://" not in config.tables:
        yield from _failure(lambda: check_made_under(config.tables, read_keys(config.keys)))


def _model_problems(config: Config) -> Problems:
    """Open cards and weights of all models; hashing the shipped ones takes a tenth of a second."""
    models = config.models
    folders = {"fusion": (str(models.fusion), None)} | {
        modality: (its.model, its.card)
        for modality in MODALITIES
        if (its := models.recogniser(modality)).model != CONSTANT
    }
    cards: dict[str, ModelCard] = {}
    for name, (model, card) in folders.items():
        setting = "models.fusion" if name == "fusion" else f"models.{name}.model"
        folder = Path(model)
        hub = name != "fusion" and card is not None and _HUB_ID.fullmatch(model)
        if not folder.is_dir() and not hub:
            cure = "name a model folder" if name == "fusion" else _FOLDER_OR_ID
            yield f"`{setting}` is {model}, and no such folder is here: {cure}"
            continue
        path = Path(card) if card else folder / CARD_FILE
        problems = [*_failure(functools.partial(_read_into, cards, name, path))]
        yield from problems or _folder_problems(name, folder, cards[name])
    for described in cards.values():
        if problem := explain_gaps(described, models.gaps):
            yield problem
    if config.licence == "open" and (refusal := explain_closed_weights(cards)):
        yield refusal


_FOLDER_OR_ID = "name a model folder, or a Hugging Face id together with its `card`"


def _read_into(cards: dict[str, ModelCard], name: str, path: Path) -> None:
    cards[name] = read_card(path)


def _folder_problems(name: str, folder: Path, card: ModelCard) -> Problems:
    if card.modality != name:
        yield f"model {folder} is for {card.modality} by its card, not for {name}"
    elif folder.is_dir():
        problems = [*_failure(functools.partial(check_files, folder, card))]
        yield from problems or _weight_problems(folder)


def _weight_problems(folder: Path) -> Problems:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        yield f"{folder} holds no .safetensors file: fetch or train the model again"
    for path in weights:
        try:
            with safe_open(path, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            yield f"{path} is not a whole safetensors file ({error}): fetch or train it again"
    try:
        json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        yield f"{folder} has no readable config.json: fetch or train the model again"


def _kafka_problems(kafka: Kafka) -> Problems:
    if kafka.ca_file is not None:
        try:
            check_regular(kafka.ca_file)
            ssl.create_default_context(cafile=str(kafka.ca_file))
        except OSError as error:  # ssl's errors are among them
            reason = error.strerror or "no certificate is in it"
            yield f"`kafka.ca_file` is {kafka.ca_file}: {reason}; name a PEM file of certificates"


def feed_problems(config: Config) -> Problems:
    """Yield why nothing would be handed on: no sink, or a purpose that the policy has not."""
    if not config.feed.sinks:
        yield "`feed.sinks` is empty: name at least one of kafka, online, webhook"
    if config.replies.model is not None and "kafka" not in config.feed.sinks:
        yield "`replies.model` is given, but `feed.sinks` has no kafka, where replies go: add it"
    known = read_policy(config.policy).purposes
    for purpose in config.feed.purposes:
        if purpose not in known:
            yield (
                f"`feed.purposes` names {purpose!r}, which {config.policy} does not: choose of "
                f"{', '.join(sorted(known))}"
            )


def _landing_problems(config: Config) -> Problems:
    known = read_policy(config.policy).purposes
    for purpose in config.landing.embeddings_for:
        if purpose not in known:
            yield f"`landing.embeddings_for` names {purpose!r}: {suggest(purpose, known)}"


def _secret_problems(config: Config) -> Problems:
    for setting, path in (
        ("kafka.password_file", config.kafka.password_file),
        ("feed.webhook.secret_file", config.feed.webhook.secret_file),
        ("online.password_file", config.online.password_file),
    ):
        if path is not None:
            yield from _failure(functools.partial(read_secret, path, setting))
    secret = config.feed.webhook.secret_file
    if secret is not None and secret.is_file() and secret.stat().st_mode & 0o077:
        yield f"others may read {secret}, the `feed.webhook.secret_file`: chmod 600 {secret}"


def _store_problems(store: str) -> Problems:
    """Yield why a file cannot be the online store; a redis is left to the run."""
    if "://" in store:
        return
    path = Path(store)
    if not os.path.exists(path):
        yield from _place_problems(path.parent, "online.store")
    elif not path.is_file():
        yield f"`online.store` is {store}, which is no file: name a file, or redis://host:port/0"
    elif not os.access(path, os.R_OK | os.W_OK):
        yield f"`online.store` is {store}, which you may not write to: name another file"
    else:
        with path.open("rb") as file:
            head = file.read(len(_SQLITE))
        if head and head != _SQLITE:
            yield f"`online.store` is {store}, which is no sqlite database: name another file"


def _access_problems(config: Config) -> Problems:
    """Yield why nobody could ask: roles or tokens that cannot be read, or that do not agree."""
    problems = [*_failure(lambda: read_roles(config.access.roles))]
    problems += _failure(lambda: read_tokens(config.api.tokens))
    yield from problems or _role_problems(config)
    if config.access.audit is not None:
        yield from _place_problems(config.access.audit, "access.audit")


def _role_problems(config: Config) -> Problems:
    known = read_roles(config.access.roles).roles
    asked = [("access.page_role", config.access.page_role)] if config.access.page_role else []
    asked += [(f"token {token.id}", token.role) for token in read_tokens(config.api.tokens)]
    for what, role in asked:
        if role not in known:
            yield f"{what} has the role {role!r}, which is none: {suggest(role, known)}"


def _host_problems(host: str) -> Problems:
    try:
        socket.create_server((host, 0)).close()
    except (OSError, TypeError) as error:  # TypeError: a name that cannot be encoded
        reason = getattr(error, "strerror", None) or "it is no name of a host"
        reason = reason.partition(" (while")[0]  # the address again
        yield (
            f"`api.host` is {host!r}, on which this machine cannot listen ({reason}): give one of "
            "its addresses"
        )
