"""The HTTP service: the page, the JSON endpoints, health and metrics."""

import asyncio
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any, AsyncIterator, Dict, List, Optional

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    generate_latest,
)
from spacy.language import Language
from spacy.tokenizer import Tokenizer

from .. import __version__
from ..tracing import LONGEST
from .analysis import Analyzer, Answer, Failure, Query, describe
from .batching import Batcher, Busy
from .guard import Guard, Limits, Metrics, problem, too_busy
from .schemas import (
    PROBLEMS,
    Document,
    Documents,
    InspectBody,
    Inspection,
    Problem,
    States,
    StatesBody,
    TextBody,
    TextsBody,
)

STATIC = Path(__file__).parent / "static"
# Characters in a row without white space. The time of spaCy's tokenizer grows with the square of
# their number (20,000 brackets take more than a minute), and nothing else runs meanwhile
LONGEST_WORD = 1000
# Of what is wrong with a request, how much the answer says
FAULTS = 3


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
            raise too_busy() from None
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
        return problem(HTTPException(422, "; ".join(faults)))

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
            raise too_busy()
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
