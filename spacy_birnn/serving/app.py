"""The HTTP service: the page, the JSON endpoints, health and metrics."""

import asyncio
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, AsyncIterator, Dict, List, NamedTuple, Optional, Tuple, Union

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast
from spacy.language import Language
from spacy.tokenizer import Tokenizer
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import __version__
from ..tracing import LONGEST
from .analysis import Analyzer, Answer, Failure, Query, describe
from .batching import Batcher, Busy

STATIC = Path(__file__).parent / "static"
# After this many seconds a client may try again
RETRY_AFTER = "1"
# In JSON a character takes at most this many bytes: two escapes
BYTES = 12
# What else a request has
OVERHEAD = 1000
# Seconds in which all of a request has to arrive: meanwhile it counts as one of those at once
PATIENCE = 30.0
# Characters in a row without white space. The time of spaCy's tokenizer grows with the square of
# their number (20,000 brackets take more than a minute), and nothing else runs meanwhile
LONGEST_WORD = 1000
# Of what is wrong with a request, how much the answer says
FAULTS = 3
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class Limits(NamedTuple):
    """What the service takes on.

    max_chars (int): Characters of a request, of all its texts together.
    max_texts (int): Texts of a request.
    max_requests (int): Requests at once.
    max_waiting (int): Texts that wait for their turn.
    batch_size (int): Texts that the pipeline gets at once, which have `max_chars` characters
        together at most: no batch takes more time and memory than one request may.
    """

    max_chars: int = 20_000
    max_texts: int = 256
    max_requests: int = 256
    max_waiting: int = 1024
    batch_size: int = 32


def _whole(text: str) -> str:
    """JSON may have lone surrogates, which no text has, but spaCy fails on them."""
    try:
        text.encode("utf8")
    except UnicodeEncodeError as error:
        reason = f"half of a character (a lone surrogate) at {error.start}"
        raise ValueError(reason) from None
    return text


Text = Annotated[str, AfterValidator(_whole)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TextBody(_Body):
    text: Text


class TextsBody(_Body):
    texts: Annotated[List[Text], FailFast()]


class InspectBody(TextBody):
    visible: Optional[Tuple[int, int]] = None


class StatesBody(InspectBody):
    component: Optional[Text] = None


class Token(BaseModel):
    """A token; `start` and `end` are characters of the text. What no component sets is missing."""

    model_config = ConfigDict(extra="allow")
    id: int
    start: int
    end: int
    tag: Optional[str] = None
    pos: Optional[str] = None
    morph: Optional[str] = None
    lemma: Optional[str] = None


class Entity(BaseModel):
    """An entity. Its confidence is null where no component of spacy-birnn has set it."""

    model_config = ConfigDict(extra="allow")
    start: int
    end: int
    label: str
    text: str
    confidence: Optional[float]


class Candidate(Entity):
    """What could be an entity; `given` if another component has set it."""

    given: bool


class Document(BaseModel):
    """What the pipeline sets: spaCy's `Doc.to_json`."""

    model_config = ConfigDict(extra="allow")
    text: str
    tokens: List[Token]
    ents: Optional[List[Entity]] = None
    cats: Optional[Dict[str, float]] = None


class Attention(BaseModel):
    component: str
    words: List[str]
    weights: List[float]


class Inspection(Document):
    """A document, and what could be an entity, the most probable first: with a threshold
    `birnn_ner` sets those with at least that confidence, and of those that overlap the first. Those
    that are `given` come before them and stand at any threshold, in the place of what they overlap.
    If words were hidden, `visible` is where the others are in `text`."""

    candidates: Optional[List[Candidate]]
    attention: List[Attention]
    visible: Optional[Tuple[int, int]]


class Direction(BaseModel):
    """The state after each word, its norm, and its distance from the one before in reading."""

    direction: str
    states: List[List[float]]
    norms: List[float]
    changes: List[float]


class States(BaseModel):
    component: str
    words: List[str]
    directions: List[Direction]


class Problem(BaseModel):
    detail: str


class Documents(BaseModel):
    """One for each text: the document, or why there is none."""

    documents: List[Union[Document, Problem]]


PROBLEMS: Dict[Union[int, str], Dict[str, Any]] = {
    408: {"model": Problem, "description": "The request has not arrived in time"},
    413: {"model": Problem, "description": "More text than the service takes"},
    422: {"model": Problem, "description": "Not what the endpoint takes"},
    500: {"model": Problem, "description": "The pipeline failed on the text"},
    503: {"model": Problem, "description": "Too busy: try again after the seconds in Retry-After"},
}


class Metrics:
    """What is counted, in the format of Prometheus."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        where: Dict[str, Any] = {"registry": self.registry, "namespace": "spacy_birnn"}
        self.requests = Counter("requests", "Requests answered", ["path", "status"], **where)
        self.seconds = Histogram("request_seconds", "Time to the answer", ["path"], **where)
        self.in_progress = Gauge("requests_in_progress", "Requests not yet answered", **where)
        self.waiting = Gauge("texts_waiting", "Texts that wait for their turn", **where)
        self.batches = Histogram(
            "batch_texts",
            "Texts that the pipeline got at once",
            buckets=[2**i for i in range(11)],
            **where,
        )
        self.dropped = Counter("texts_dropped", "Texts whose client went away", **where)


class Guard:
    """What holds for all requests: there are not too many at once, none is too large, each is
    counted, and each answer has the headers that keep a page to itself.

    app (ASGIApp): What answers them.
    limits (Limits): The limits.
    metrics (Metrics): Where they are counted.
    """

    def __init__(self, app: ASGIApp, *, limits: Limits, metrics: Metrics):
        self.app = app
        self.limits = limits
        self.metrics = metrics
        self.max_bytes = BYTES * limits.max_chars + 6 * limits.max_texts + OVERHEAD
        self.n_now = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # Other paths are not told apart: anyone can make up as many as they like
        asks = scope["path"].startswith("/api/") and scope["method"] == "POST"
        begun, status, n_bytes, has_all = perf_counter(), 499, 0, False

        async def limited() -> Message:
            nonlocal n_bytes, has_all
            if has_all:
                return await receive()
            left = begun + PATIENCE - perf_counter()
            try:
                message = await asyncio.wait_for(receive(), left)
            except asyncio.TimeoutError:
                raise HTTPException(408, f"The request took over {PATIENCE:g} seconds.") from None
            n_bytes += len(message.get("body", b""))
            if n_bytes > self.max_bytes:
                raise self._too_large()
            has_all = not message.get("more_body", False)
            return message

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        self.metrics.in_progress.inc()
        self.n_now += asks
        try:
            if asks and self.n_now > self.limits.max_requests:
                await _problem(_too_busy())(scope, receive, noted)
            elif int(Headers(scope=scope).get("content-length") or 0) > self.max_bytes:
                await _problem(self._too_large())(scope, receive, noted)
            else:
                await self.app(scope, limited, noted)
        except Exception:
            status = 500
            raise
        finally:
            self.n_now -= asks
            self.metrics.in_progress.dec()
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(route, status).inc()
            self.metrics.seconds.labels(route).observe(perf_counter() - begun)

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"The request is too large: it may have {self.max_bytes} bytes.")


def create_app(nlp: Language, limits: Limits) -> FastAPI:
    """The service.

    nlp (Language): The pipeline, trained. Nothing else may use it meanwhile.
    limits (Limits): What it takes on.
    """
    metrics = Metrics()
    analyzer = Analyzer(nlp)
    # Other tokenizers, such as those for Chinese, read texts without white space
    max_chars_of_word = LONGEST_WORD if isinstance(nlp.tokenizer, Tokenizer) else limits.max_chars
    description = {
        **describe(nlp),
        "limits": {
            "max_chars": limits.max_chars,
            "max_texts": limits.max_texts,
            "max_chars_of_word": max_chars_of_word,
            "max_words_of_states": LONGEST,
        },
    }

    def answer_all(queries: List[Query]) -> List[Answer]:
        metrics.batches.observe(len(queries))
        return analyzer.answer(queries)

    batcher = Batcher(
        answer_all,
        size_of=lambda query: len(query.text),
        batch_size=limits.batch_size,
        max_size=limits.max_chars,
        max_waiting=limits.max_waiting,
    )
    metrics.waiting.set_function(lambda: batcher.n_waiting)
    worker: Optional["asyncio.Task[None]"] = None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        nonlocal worker
        worker = asyncio.create_task(batcher.work())
        yield
        worker.cancel()
        await asyncio.wait([worker])

    def is_working() -> bool:
        return worker is not None and not worker.done()

    async def answers_to(request: Request, queries: List[Query]) -> List[Answer]:
        """RAISES (HTTPException): 413, 503; 499 if nobody waits for the answers any more."""
        n_chars = sum(len(query.text) for query in queries)
        most = min(limits.max_chars, nlp.max_length)
        if n_chars > most:
            reason = f"The texts have {n_chars} characters; a request may have {most}."
            raise HTTPException(413, reason)
        if len(queries) > limits.max_texts:
            reason = f"There are {len(queries)} texts; a request may have {limits.max_texts}."
            raise HTTPException(413, reason)
        words = (len(word) for query in queries for word in query.text.split())
        if (longest := max(words, default=0)) > max_chars_of_word:
            raise HTTPException(
                413,
                f"There are {longest} characters without white space between them; there may be "
                f"{max_chars_of_word}.",
            )
        try:
            futures = batcher.submit(queries)
        except Busy:
            raise _too_busy() from None
        answers = asyncio.create_task(_all(futures))
        gone = asyncio.create_task(_disconnected(request))
        try:
            await asyncio.wait({answers, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answers.done():
                metrics.dropped.inc(len(queries))
                raise HTTPException(499, "The client has gone.")
            return answers.result()
        finally:
            for future in (answers, gone, *futures):
                future.cancel()

    async def respond(request: Request, query: Query) -> JSONResponse:
        (answer,) = await answers_to(request, [query])
        if isinstance(answer, Failure):
            raise HTTPException(422 if answer.asked_wrongly else 500, answer.message)
        return JSONResponse(answer)

    app = FastAPI(
        title=description["name"],
        summary="What a spaCy pipeline says of texts",
        version=__version__,
        # They would load scripts from elsewhere
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(Guard, limits=limits, metrics=metrics)

    @app.exception_handler(RequestValidationError)
    async def refuse(request: Request, error: RequestValidationError) -> JSONResponse:
        # FastAPI's own answer repeats the text
        first = islice(error.errors(), FAULTS)
        faults = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in first)
        return _problem(HTTPException(422, "; ".join(faults)))

    @app.post("/api/analyze", responses={200: {"model": Document}, **PROBLEMS})
    async def analyze(body: TextBody, request: Request) -> Response:
        """What the pipeline sets in a text."""
        return await respond(request, Query(body.text))

    @app.post("/api/analyze-batch", responses={200: {"model": Documents}, **PROBLEMS})
    async def analyze_batch(body: TextsBody, request: Request) -> Response:
        """What the pipeline sets in each of some texts. In the place of one on which it fails is
        the reason, as `detail`."""
        answers = await answers_to(request, [Query(text) for text in body.texts])
        documents = [
            {"detail": found.message} if isinstance(found, Failure) else found for found in answers
        ]
        return JSONResponse({"documents": documents})

    @app.post("/api/inspect", responses={200: {"model": Inspection}, **PROBLEMS})
    async def inspect(body: InspectBody, request: Request) -> Response:
        """What the pipeline sets in a text, what else could be an entity, and the attention. With
        `visible`, the first character that it may see and the one after the last, the words outside
        are hidden: U+FFFD stands for each."""
        return await respond(request, Query(body.text, "inspection", body.visible))

    @app.post("/api/states", responses={200: {"model": States}, **PROBLEMS})
    async def states(body: StatesBody, request: Request) -> Response:
        """The states of a component's recurrent encoder along a short text."""
        return await respond(request, Query(body.text, "states", body.visible, body.component))

    @app.get("/api/pipeline")
    async def pipeline() -> Dict[str, Any]:
        """What is in the pipeline, and what the service takes on."""
        return description

    @app.get("/health", responses={503: {"model": Problem}})
    async def health() -> Dict[str, str]:
        """Whether the service works at all. If not, it has to be started anew."""
        if not is_working():
            raise HTTPException(503, "The pipeline's thread has ended.")
        return {"status": "ok"}

    @app.get("/ready", responses={503: {"model": Problem}})
    async def ready() -> Dict[str, str]:
        """Whether there is room for more texts."""
        if not is_working() or batcher.n_waiting >= limits.max_waiting:
            raise _too_busy()
        return {"status": "ready"}

    @app.get("/metrics")
    async def show_metrics() -> Response:
        """Counts, in the format of Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    app.mount("/", StaticFiles(directory=STATIC, html=True))
    return app


async def _all(futures: "List[asyncio.Future[Answer]]") -> List[Answer]:
    return [await future for future in futures]


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _too_busy() -> HTTPException:
    return HTTPException(
        503, "Too many requests at once. Try again later.", {"Retry-After": RETRY_AFTER}
    )


def _problem(error: HTTPException) -> JSONResponse:
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
