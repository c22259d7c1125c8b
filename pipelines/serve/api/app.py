"""The API's pages and the server: one process, since deltalake does not survive a fork."""

import asyncio
import gc
import os
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar

import uvicorn
from deltalake import DeltaTable
from fastapi import FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from rich.console import Console
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from pipelines.access.audit import AuditLog, Entry, user_name
from pipelines.access.audit_writer import AuditWriter
from pipelines.access.roles import Grant, read_roles
from pipelines.config import Config
from pipelines.observe.catalogue import API
from pipelines.observe.exporter import Exporter
from pipelines.serve.api.bodies import (
    Decision,
    Explanation,
    Features,
    History,
    encode,
    respond,
    without_hidden,
)
from pipelines.serve.api.guard import Guard, RateLimit, purposes_for, role_for
from pipelines.serve.api.landed import HISTORY, LandedRows
from pipelines.serve.api.online import Lookups
from pipelines.serve.api.problems import MEDIA_TYPE, Problem, ProblemBody, ProblemError, answer
from pipelines.serve.api.token_file import read_tokens
from pipelines.serve.api.tokens import Tokens
from schemas.errors import AffectstreamError

Result = TypeVar("Result")

_ID = r"^[0-9a-f]{32}$"
_PURPOSE = r"^[a-z_]{1,64}$"
_DAY = timedelta(days=1)
_THREADS, _MOST_WAITING = 4, 32
"""Questions to the tables that are worked on at once, and that wait for it."""
_READY_S = 1.0

Subject = Annotated[str, Path(pattern=_ID, description="Pseudonym: `subject_ref` of the tables")]
DecisionId = Annotated[str, Path(pattern=_ID, description="`decision_id` of the tables")]
Purpose = Annotated[
    str | None,
    Query(pattern=_PURPOSE, description="Only rows of this purpose; default: of any"),
]
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemBody, "content": {MEDIA_TYPE: {}}, "description": description}
    for status, description in (
        (401, "No token, or none that is valid"),
        (403, "The token's role may not ask for this"),
        (404, "Nothing is there, or nothing that the role may see"),
        (422, "A parameter is wrong"),
        (429, "Too many requests with this token"),
        (503, "Store or tables do not answer"),
        (504, "The answer took too long"),
    )
}


class Service:
    """What the pages share: store, tables, and the threads that ask the tables."""

    def __init__(self, config: Config) -> None:
        offset = timedelta(seconds=config.kafka.clock_offset_s)
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC) + offset
        self.settings = config.api
        self.lookups = Lookups(config.online, config.api.timeout_s, self.now)
        self.roles = read_roles(config.access.roles)
        self.landed = LandedRows(config.tables, self.now)
        self.exporter = Exporter(API)
        self.audit = AuditWriter(_audit_log(config))
        self._threads = ThreadPoolExecutor(_THREADS, "tables")
        self._waiting = 0
        self._ready_at = float("-inf")

    def close(self) -> None:
        """Let go of everything."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.lookups.close()
        self.exporter.close()
        self.audit.close()

    async def ask_tables(self, question: Callable[[], Result]) -> Result:
        """Return the answer of a question to the tables.

        Raises:
            ProblemError: it takes too long, or too many wait.
        """
        if self._waiting >= _MOST_WAITING:
            raise ProblemError(Problem.BUSY)
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, question)
        future.add_done_callback(self._count_done)
        try:
            # Shielded: a thread cannot be stopped, and counts until it has ended.
            return await asyncio.wait_for(asyncio.shield(future), self.settings.timeout_s)
        except TimeoutError as error:
            raise ProblemError(Problem.TIME_OUT) from error

    def _count_done(self, future: asyncio.Future[Any]) -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()  # nobody else may be left to take it

    async def check(self) -> None:
        """Look, at most once a second, whether store and tables answer.

        Raises:
            ProblemError: one does not.
        """
        now = asyncio.get_running_loop().time()
        if now - self._ready_at > _READY_S:
            await self.lookups.check()
            await self.ask_tables(self.landed.check)
            self._ready_at = now

    async def newest(
        self, request: Request, table: str, page: str, who: str, purpose: str | None
    ) -> Response:
        """Answer with a subject's newest row of a table."""
        role = role_for(self.roles, request.state.caller, page)
        grant = role.tables[table]
        entry = await self.lookups.find(table, who, purposes_for(role, page, purpose))
        # A decision is served until it expires; only windows have an age of their own.
        if entry is None or not _is_young(grant, entry.window_end, self.now()):
            raise ProblemError(Problem.SUBJECT_UNKNOWN)
        request.state.rows = 1
        body = entry.row if grant.columns_whole else without_hidden(grant, entry.row)
        return respond(request, body)


def _is_young(grant: Grant, end_us: int, now: datetime) -> bool:
    return grant.max_age_s is None or end_us / 1e6 + grant.max_age_s > now.timestamp()


def build_app(service: Service) -> FastAPI:
    """Return the pages; who may see them is looked after by ``Guard``."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="affectstream",
        summary="Estimates of shown expressions, and what was decided on them",
        version="1",
        docs_url=None,  # its page would load scripts from another host
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    _add_lookups(app, service)
    _add_landed(app, service)
    _add_operations(app, service)
    _answer_errors(app)
    _document_tokens(app)
    return app


def _add_lookups(app: FastAPI, service: Service) -> None:
    @app.get(
        "/v1/subjects/{subject_ref}/latest",
        responses=_PROBLEMS | {200: {"model": Features}},
        name="latest",
    )
    async def latest(request: Request, subject_ref: Subject, purpose: Purpose = None) -> Response:
        """Return the newest features of a subject that have not expired."""
        return await service.newest(request, "emotion_features", "latest", subject_ref, purpose)

    @app.get(
        "/v1/subjects/{subject_ref}/decision",
        responses=_PROBLEMS | {200: {"model": Decision}},
        name="decision",
    )
    async def decision(request: Request, subject_ref: Subject, purpose: Purpose = None) -> Response:
        """Return the newest decision on a subject that has not expired."""
        return await service.newest(
            request, "expression_decisions", "decision", subject_ref, purpose
        )


class HistoryQuery(BaseModel):
    """Parameters of a history; one that it does not know is refused."""

    model_config = ConfigDict(extra="forbid")

    of: Literal["features", "decisions"] = Field("features", description="Of what")
    since: AwareDatetime | None = Field(
        None, description="First window end; default: a day before `until`"
    )
    until: AwareDatetime | None = Field(
        None, description="Last window end, exclusive; default: now"
    )
    purpose: str | None = Field(
        None, pattern=_PURPOSE, description="Only rows of this purpose; default: of any"
    )
    limit: int = Field(
        100, ge=1, le=100_000, description="Rows on one page; the server may give fewer"
    )
    after: str | None = Field(None, max_length=200, description="`next` of the page before")


_UNKNOWN = f"this page has the parameters {', '.join(HistoryQuery.model_fields)}, and no others"


def _add_landed(app: FastAPI, service: Service) -> None:
    @app.get(
        "/v1/subjects/{subject_ref}/history",
        responses=_PROBLEMS | {200: {"model": History}},
        name="history",
    )
    async def history(
        request: Request, subject_ref: Subject, query: Annotated[HistoryQuery, Query()]
    ) -> Response:
        """Return what has landed of a subject, page by page in the order of time."""
        role = role_for(service.roles, request.state.caller, "history")
        purposes = purposes_for(role, "history", query.purpose)
        span = _span(service, query.since, query.until)
        table, limit = HISTORY[query.of], min(query.limit, service.settings.page_rows)
        page = await service.ask_tables(
            lambda: service.landed.history(
                table, subject_ref, role.tables[table], purposes, span, limit, query.after
            )
        )
        request.state.rows = len(page.rows)
        return respond(request, encode({"rows": page.rows, "next": page.next}))

    @app.get(
        "/v1/subjects/{subject_ref}/decisions/{decision_id}/explanation",
        responses=_PROBLEMS | {200: {"model": Explanation}},
        name="explanation",
    )
    async def explanation(
        request: Request, subject_ref: Subject, decision_id: DecisionId
    ) -> Response:
        """Return why a decision was made: its window, its observations, its rule and models."""
        role = role_for(service.roles, request.state.caller, "explanation")
        purposes = purposes_for(role, "explanation", None)
        found = await service.ask_tables(
            lambda: service.landed.explanation(subject_ref, decision_id, role, purposes)
        )
        if found is None:
            raise ProblemError(Problem.DECISION_UNKNOWN)
        request.state.rows = 1 + (found["window"] is not None) + len(found["observations"])
        return respond(request, encode(found))


def _span(
    service: Service, since: datetime | None, until: datetime | None
) -> tuple[datetime, datetime]:
    try:
        end = (until or service.now()).astimezone(UTC)
        start = (since or end - _DAY).astimezone(UTC)
    except OverflowError as error:
        raise ProblemError(Problem.QUERY_WRONG, "since, until: out of range") from error
    if not datetime(1970, 1, 1, tzinfo=UTC) <= start <= end <= datetime(9000, 1, 1, tzinfo=UTC):
        detail = "since, until: give times from 1970 to 8999, the earlier one as `since`"
        raise ProblemError(Problem.QUERY_WRONG, detail)
    longest = timedelta(days=service.settings.history_days)
    if end - start > longest:
        detail = f"at most {service.settings.history_days:g} days: move `since` or `until`"
        raise ProblemError(Problem.RANGE_TOO_LONG, detail)
    return start, end


def _add_operations(app: FastAPI, service: Service) -> None:
    @app.get("/health", name="health")
    async def health() -> dict[str, str]:
        """Say that the process runs."""
        return {"status": "ok"}

    @app.get("/ready", name="ready", responses={503: _PROBLEMS[503], 504: _PROBLEMS[504]})
    async def ready() -> dict[str, str]:
        """Say that store and tables answer."""
        await service.check()
        return {"status": "ready"}

    only: dict[int | str, dict[str, Any]] = {
        status: _PROBLEMS[status] for status in (401, 403, 429)
    }

    @app.get("/metrics", name="metrics", responses=only, response_class=PlainTextResponse)
    async def metrics(request: Request) -> Response:
        """Return the metrics of this process in Prometheus' text format."""
        role_for(service.roles, request.state.caller, "metrics")
        return PlainTextResponse(service.exporter.text(), media_type="text/plain; version=0.0.4")


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(ProblemError)
    async def on_problem(_: Request, error: ProblemError) -> Response:
        return answer(error.problem, error.detail)

    @app.exception_handler(RequestValidationError)
    async def on_wrong_query(_: Request, error: RequestValidationError) -> Response:
        # Without values, nor names that the page does not have: either may be somebody's name.
        parts = [
            _UNKNOWN
            if item["type"] == "extra_forbidden"
            else f"{item['loc'][-1]}: {item['msg'].lower()}"
            for item in error.errors()
        ]
        return answer(Problem.QUERY_WRONG, "; ".join(dict.fromkeys(parts)))

    @app.exception_handler(HTTPException)
    async def on_no_page(_: Request, error: HTTPException) -> Response:
        return answer(Problem.METHOD_REFUSED if error.status_code == 405 else Problem.NOT_FOUND)

    @app.exception_handler(Exception)
    async def on_fault(_: Request, error: Exception) -> Response:
        return answer(Problem.INTERNAL)


def _document_tokens(app: FastAPI) -> None:
    """Say in the OpenAPI document which pages want a token; ``Guard`` is what asks for it."""
    document = app.openapi()
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, operations in document["paths"].items():
        if path.startswith("/v1/") or path == "/metrics":
            for operation in operations.values():
                operation["security"] = [{"token": []}]


def guarded(config: Config, service: Service) -> Guard:
    """Return the whole ASGI application."""
    limit = RateLimit(config.api.requests_per_s)
    tokens = Tokens(config.api.tokens)
    return Guard(build_app(service), tokens, limit, service.exporter, service.audit)


def _audit_log(config: Config) -> AuditLog:
    return AuditLog(config.access.audit_folder(config.tables), config.access.audit_days)


def serve(config: Config, console: Console) -> None:
    """Serve the API until SIGTERM or Ctrl-C.

    Raises:
        AffectstreamError: there is neither a store nor a table, the address cannot be listened on,
            the file of tokens is none, or the audit log cannot be written.
    """
    _check_places(config)
    host, port = config.api.host, config.api.port
    started = Entry(datetime.now(UTC), user_name(), "", "api", "started")
    _audit_log(config).append([started])
    if not read_tokens(config.api.tokens):
        console.print(f"{config.api.tokens} holds no token yet: make one with tokens add")
    try:
        listener = socket.create_server((host, port))
    except (OSError, TypeError) as error:  # TypeError: a name that cannot be encoded
        reason = getattr(error, "strerror", None) or "it is no name of a host"
        message = f"cannot listen on {host}:{port} ({reason}): name another `--host` or `--port`"
        raise AffectstreamError(message) from error
    with listener:
        console.print(f"http://{host}:{listener.getsockname()[1]}/v1, Ctrl-C ends it")
        app = guarded(config, Service(config))
        gc.freeze()  # to look through all that was imported would stop the server for 66 ms
        settings = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=1_000,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
        )
        uvicorn.Server(settings).run([listener])


def _check_places(config: Config) -> None:
    """Raise where there is nothing to answer from; what is remote may come later.

    A server only reads: it would never make what a wrong path names.
    """
    store, root = config.online.store, config.tables
    if "://" in store or "://" in root or os.path.exists(store):
        return
    if not any(DeltaTable.is_deltatable(f"{root}/{name}") for name in HISTORY.values()):
        message = (
            f"neither the online store {store} nor tables under {root} are there: name them with "
            "`--store` and `--tables`, or start a job and `affectstream feed` first"
        )
        raise AffectstreamError(message)
