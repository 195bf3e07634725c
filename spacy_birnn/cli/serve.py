"""`birnn serve`: a page and an HTTP service for a pipeline."""

import errno
import signal
import socket
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._app import (
    Pipeline,
    check_installed,
    command,
    fail,
    load_pipeline,
    say,
    warn,
)

if TYPE_CHECKING:
    from spacy.language import Language

# Seconds in which what is running may finish, once the service is to stop
GRACE = 30


@command("serve", example="serve training/model-best --port 8080")
def serve_cli(
    model: Pipeline,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 is all of this machine's")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", "-p", min=0, max=65535, help="Port; 0 is any that is free")
    ] = 8000,
    max_chars: Annotated[
        int, typer.Option(min=1, help="Characters of a request, of all its texts together")
    ] = 20_000,
    max_texts: Annotated[int, typer.Option(min=1, help="Texts of a request")] = 256,
    max_requests: Annotated[int, typer.Option(min=1, help="Requests at once")] = 256,
    max_waiting: Annotated[
        int, typer.Option(min=1, help="Texts that wait for their turn, at least --max-texts")
    ] = 1024,
    batch_size: Annotated[
        int,
        typer.Option(
            "--batch-size",
            "-b",
            min=1,
            help="Texts that the pipeline gets at once, with --max-chars in all at most",
        ),
    ] = 32,
) -> None:
    """Serve a pipeline: a page to try it on, and JSON for programs.

    The page shows entities with their confidence, tags, categories and the states of the encoder.
    Programs find the endpoints in /openapi.json; /health, /ready and /metrics are for whoever runs
    the service. More than the limits allow is refused, with 413 or 503. SIGTERM and Ctrl+C end it,
    once it has answered what it is working on.
    """
    check_installed("fastapi", "prometheus_client", "uvicorn", extra="serve")
    import uvicorn

    if max_waiting < max_texts:
        raise typer.BadParameter("--max-waiting must be at least --max-texts")
    with listen(host, port) as sock:
        nlp = load_pipeline(model)
        check_pipeline(nlp, model)
        from ..serving.app import create_app
        from ..serving.guard import Limits

        limits = Limits(max_chars, max_texts, max_requests, max_waiting, batch_size)
        config = uvicorn.Config(
            create_app(nlp, limits), log_level="warning", timeout_graceful_shutdown=GRACE
        )
        # uvicorn finishes what is running, and then raises the signal again
        signal.signal(signal.SIGTERM, _leave)
        signal.signal(signal.SIGINT, _leave)
        address = f"[{host}]" if ":" in host else host
        say(f"Serving on http://{address}:{sock.getsockname()[1]} (Ctrl+C to stop)")
        if not is_loopback(sock):
            warn("Anyone who can reach this address can use it: there is no password.")
        uvicorn.Server(config).run(sockets=[sock])


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound to an address, so that it is known early whether it is free."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
        hint = "Name another --port; 0 is any that is free." if taken else ""
        fail(f"Can't listen on {host}, port {port}: {error.strerror}", hint)


def is_loopback(sock: socket.socket) -> bool:
    from ipaddress import ip_address

    return ip_address(sock.getsockname()[0]).is_loopback


def check_pipeline(nlp: "Language", model: str) -> None:
    """Refuse a pipeline that says nothing of a text, and warn of one that is not ours."""
    if not nlp.pipe_names:
        fail(f"The pipeline '{model}' has no components", "There is nothing to serve.")
    if not any(nlp.get_pipe_meta(name).factory.startswith("birnn_") for name in nlp.pipe_names):
        warn(
            f"No component of '{model}' is one of spacy-birnn. It is served, but its entities have "
            "no confidence and no threshold, and there is no attention."
        )
    # What has no weights fails here, not at the first request
    nlp("Ready?")


def _leave(*_: Any) -> None:
    sys.exit(0)
