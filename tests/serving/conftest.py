"""A pipeline with all components, and servers for it."""

import socket
import threading
import time
from contextlib import contextmanager

import pytest
import spacy
import uvicorn
from spacy.language import Language
from thinc.api import fix_random_seed

from spacy_birnn.serving.app import create_app
from spacy_birnn.serving.guard import Limits

PIPES = ("birnn_tagger", "birnn_morphologizer", "birnn_lemmatizer", "birnn_ner", "birnn_textcat")
OPEN = threading.Event()


@Language.component("serving_gate")
def gate(doc):
    """Fails on some texts, and takes its time with others."""
    if "fail" in doc.text:
        raise ValueError("it says fail")
    if "wait" in doc.text:
        assert OPEN.wait(60)
    return doc


@pytest.fixture
def opened():
    """Lets the texts through that wait. At the end of a test all are let through."""
    OPEN.clear()
    yield OPEN
    OPEN.set()


@pytest.fixture(scope="session")
def reference(tiny_tok2vec, make_examples, fit) -> Language:
    """A trained pipeline, which no server uses. Do not change it."""
    fix_random_seed(0)
    nlp = spacy.blank("xx")
    for name in PIPES:
        model = {} if name == "birnn_lemmatizer" else {"model": {"tok2vec": tiny_tok2vec}}
        nlp.add_pipe(name, config=model)
    fit(nlp, make_examples(nlp), steps=60)
    return nlp


@pytest.fixture
def served(reference, reload) -> Language:
    """A copy of it that a server may use, and that fails or waits when asked to."""
    nlp = reload(reference)
    nlp.add_pipe("serving_gate")
    return nlp


@contextmanager
def running(nlp, limits):
    sock = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(nlp, limits), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        OPEN.set()
        server.should_exit = True
        thread.join(60)
        sock.close()
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def serve():
    """Run a server for a pipeline in a thread: `with serve(nlp, max_texts=3) as url`."""
    return lambda nlp, **limits: running(nlp, Limits(**limits))
