"""What holds for all requests: limits, headers, and what is counted."""

import asyncio
from time import perf_counter
from typing import Any, Dict, NamedTuple

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# After this many seconds a client may try again
RETRY_AFTER = "1"
# In JSON a character takes at most this many bytes: two escapes
BYTES = 12
# What else a request has
OVERHEAD = 1000
# Seconds in which all of a request has to arrive: meanwhile it counts as one of those at once
PATIENCE = 30.0
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
                await problem(too_busy())(scope, receive, noted)
            elif int(Headers(scope=scope).get("content-length") or 0) > self.max_bytes:
                await problem(self._too_large())(scope, receive, noted)
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


def too_busy() -> HTTPException:
    return HTTPException(
        503, "Too many requests at once. Try again later.", {"Retry-After": RETRY_AFTER}
    )


def problem(error: HTTPException) -> JSONResponse:
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
