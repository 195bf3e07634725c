"""The service as its clients meet it: a real server, and many of them at once."""

import asyncio
import json
import re
import socket
import time

import httpx
import pytest
import spacy

from spacy_birnn.pipeline.confidence import to_json
from spacy_birnn.serving import guard, schemas

TEXT = "Anna Berg flew from Oslo to New York ."
MODELS = {
    "/api/analyze": schemas.Document,
    "/api/analyze-batch": schemas.Documents,
    "/api/inspect": schemas.Inspection,
    "/api/states": schemas.States,
}


def metric(url, name):
    found = re.findall(rf"(?m)^spacy_birnn_{name} (\S+)$", httpx.get(f"{url}/metrics").text)
    return float(found[0]) if found else 0.0


def until(condition):
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("It did not come about")


def places(found):
    return [(ent["start"], ent["end"], ent["label"]) for ent in found["ents"]]


def test_a_hundred_clients_at_once_lose_nothing(serve, reference, served):
    texts = [f"{TEXT} {'bread ' * i}They sell Acme Foods Ltd . Oslo {i}" for i in range(100)]
    texts[50] = "Oslo fail"
    expected = [places(to_json(doc)) for doc in reference.pipe(texts)]

    async def ask(url, i):
        async with httpx.AsyncClient(timeout=120) as client:
            if i % 10:
                return await client.post(f"{url}/api/analyze", json={"text": texts[i]})
            return await client.post(f"{url}/api/analyze-batch", json={"texts": [texts[i]] * 3})

    async def ask_all(url):
        return await asyncio.gather(*(ask(url, i) for i in range(100)))

    with serve(served) as url:
        answers = asyncio.run(ask_all(url))
        n_batches = metric(url, "batch_texts_count")
        assert metric(url, "batch_texts_sum") == 90 + 3 * 10
    assert [answer.status_code for answer in answers] == [200] * 100
    for i, answer in enumerate(answers):
        found = answer.json()
        for one in [found] if i % 10 else found["documents"]:
            if i == 50:
                assert one == {"detail": "The pipeline failed on this text: it says fail"}
            else:
                assert one["text"] == texts[i] and places(one) == expected[i] != []
    assert n_batches < 100


def test_a_client_that_goes_away_harms_nobody(serve, served, opened):
    async def ask(url):
        async with httpx.AsyncClient(timeout=60) as client:
            first = asyncio.create_task(client.post(f"{url}/api/analyze", json={"text": "wait"}))
            while metric(url, "batch_texts_count") < 1:
                await asyncio.sleep(0.01)
            gone = asyncio.create_task(
                client.post(f"{url}/api/analyze-batch", json={"texts": ["Oslo"] * 5})
            )
            stays = asyncio.create_task(client.post(f"{url}/api/analyze", json={"text": TEXT}))
            while metric(url, "texts_waiting") < 6:
                await asyncio.sleep(0.01)
            gone.cancel()
            while metric(url, "texts_waiting") > 1:
                await asyncio.sleep(0.01)
            # Also one whose text is with the pipeline already
            first.cancel()
            while metric(url, "texts_dropped_total") < 6:
                await asyncio.sleep(0.01)
            opened.set()
            return (await stays).json()

    with serve(served) as url:
        found = asyncio.run(ask(url))
        until(lambda: metric(url, "requests_in_progress") == 1)
        # The five were not read
        assert metric(url, "batch_texts_sum") == 2
        assert httpx.get(f"{url}/health").json() == {"status": "ok"}
    assert found["text"] == TEXT and found["ents"]


def test_more_texts_than_there_is_room_for_are_to_come_again(serve, served, opened):
    async def ask(url):
        async with httpx.AsyncClient(timeout=60) as client:
            asked = [asyncio.create_task(client.post(f"{url}/api/analyze", json={"text": "wait"}))]
            while metric(url, "batch_texts_count") < 1:
                await asyncio.sleep(0.01)
            asked.append(
                asyncio.create_task(
                    client.post(f"{url}/api/analyze-batch", json={"texts": ["a"] * 3})
                )
            )
            while metric(url, "texts_waiting") < 3:
                await asyncio.sleep(0.01)
            refused = await client.post(f"{url}/api/analyze", json={"text": TEXT})
            ready = await client.get(f"{url}/ready")
            health = await client.get(f"{url}/health")
            opened.set()
            return refused, ready, health, await asyncio.gather(*asked)

    with serve(served, max_waiting=3) as url:
        refused, ready, health, answers = asyncio.run(ask(url))
        assert httpx.post(f"{url}/api/analyze", json={"text": TEXT}).status_code == 200
        assert httpx.get(f"{url}/ready").json() == {"status": "ready"}
    for answer in (refused, ready):
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
        assert "again" in answer.json()["detail"]
    assert health.status_code == 200
    assert [answer.status_code for answer in answers] == [200, 200]


def test_more_requests_than_allowed_are_to_come_again(serve, served, opened):
    async def ask(url):
        async with httpx.AsyncClient(timeout=60) as client:
            asked = [
                asyncio.create_task(client.post(f"{url}/api/analyze", json={"text": "wait"}))
                for _ in range(5)
            ]
            done, waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            # What is not for the pipeline is not refused
            page = await client.get(url)
            opened.set()
            return done, await asyncio.gather(*asked), page

    with serve(served, max_requests=4) as url:
        _, answers, page = asyncio.run(ask(url))
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [503]
    assert all("retry-after" in one.headers for one in answers if one.status_code == 503)
    assert page.status_code == 200


@pytest.fixture(scope="module")
def url(serve, reference, reload):
    nlp = reload(reference)
    nlp.add_pipe("serving_gate")
    with serve(nlp, max_chars=100, max_texts=3) as address:
        yield address


def chunks(n):
    yield b'{"text": "'
    for _ in range(n):
        yield b"a" * 1000
    yield b'"}'


@pytest.mark.parametrize(
    "path, sent, status, message",
    [
        ("analyze", {"json": {"text": "a" * 101}}, 413, "101 characters; a request may have 100"),
        ("analyze-batch", {"json": {"texts": ["a" * 51] * 2}}, 413, "102 characters"),
        ("analyze-batch", {"json": {"texts": ["a"] * 4}}, 413, "4 texts; a request may have 3"),
        ("analyze", {"json": {"text": "a" * 2_000_000}}, 413, "2218 bytes"),
        ("analyze", {"content": chunks(50)}, 413, "2218 bytes"),
        ("analyze", {"content": b'{"text": '}, 422, "JSON"),
        ("analyze", {"content": b"\xff"}, 400, "parsing"),
        ("analyze", {"json": {"txt": "a"}}, 422, "body.text: Field required"),
        ("analyze", {"json": {"text": 3}}, 422, "body.text: Input should be a valid string"),
        (
            "analyze",
            {"content": rb'{"text": "\ud800"}'},
            422,
            "body.text: Value error, half of a character",
        ),
        ("analyze-batch", {"json": {"texts": ["a", None]}}, 422, "body.texts.1"),
        ("analyze-batch", {"json": {"texts": [1] * 200}}, 422, "body.texts.0"),
        ("analyze", {"json": {"text": "a", **dict.fromkeys("bcdefghijk")}}, 422, "body.b"),
        ("states", {"content": rb'{"text": "a", "component": "\ud800"}'}, 422, "body.component"),
        ("analyze", {"json": {"text": "fail"}}, 500, "it says fail"),
        ("inspect", {"json": {"text": "fail"}}, 500, "it says fail"),
        ("inspect", {"json": {"text": "a", "visible": [0, 2]}}, 422, "has 1 characters"),
        ("states", {"json": {"text": "a", "component": "x"}}, 422, "no recurrent encoder"),
        ("states", {"json": {"text": ""}}, 422, "0 words"),
        ("nothing", {"json": {}}, 405, "Not Allowed"),
    ],
)
def test_what_is_refused_and_why(url, path, sent, status, message):
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{url}/api/{path}", headers=headers, **sent)
    assert answer.status_code == status
    assert message in answer.json()["detail"] and len(answer.text) < 400
    assert httpx.post(f"{url}/api/analyze", json={"text": "Oslo"}).status_code == 200


def test_a_word_that_would_hold_up_all_others_is_refused(serve, reload, reference):
    nlp = reload(reference)
    with serve(nlp) as url:
        refused = httpx.post(f"{url}/api/analyze", json={"text": "Oslo " + "(" * 1001})
        taken = httpx.post(f"{url}/api/analyze", json={"text": "Oslo " + "(" * 1000})
    assert refused.status_code == 413 and "1001 characters without" in refused.json()["detail"]
    assert taken.status_code == 200


def test_texts_without_white_space_are_taken_where_the_tokenizer_reads_them(serve):
    nlp = spacy.blank("zh")
    nlp.add_pipe("sentencizer")
    with serve(nlp) as url:
        assert httpx.post(f"{url}/api/analyze", json={"text": "\u597d" * 1001}).status_code == 200


def test_a_request_that_does_not_arrive_takes_no_room(serve, served, monkeypatch):
    monkeypatch.setattr(guard, "PATIENCE", 0.2)
    with serve(served, max_requests=1) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(
                b"POST /api/analyze HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: 100\r\n\r\n{"
            )
            assert b" 408 " in slow.recv(1000)
        assert httpx.post(f"{url}/api/analyze", json={"text": TEXT}).status_code == 200


def test_all_characters_that_a_text_may_have(url):
    text = "\N{GRINNING FACE}" * 98 + "\x00\u200d"
    as_escapes = json.dumps({"text": text})
    answer = httpx.post(
        f"{url}/api/analyze", content=as_escapes, headers={"content-type": "application/json"}
    )
    assert answer.json()["text"] == text


def test_the_documentation_of_the_endpoints_is_true(url):
    described = httpx.get(f"{url}/openapi.json").json()
    assert set(MODELS) <= set(described["paths"])
    bodies = {
        "/api/analyze": {"text": TEXT},
        "/api/analyze-batch": {"texts": [TEXT, "fail", ""]},
        "/api/inspect": {"text": TEXT, "visible": [5, 20]},
        "/api/states": {"text": TEXT},
    }
    for path, model in MODELS.items():
        operation = described["paths"][path]["post"]
        assert operation["description"]
        assert {"200", "413", "422", "500", "503"} <= set(operation["responses"])
        found = httpx.post(f"{url}{path}", json=bodies[path]).json()
        own = model.model_validate(found).model_dump(exclude_unset=True, mode="json")
        assert own == found
    pipeline = httpx.get(f"{url}/api/pipeline").json()
    assert pipeline["limits"] == {
        "max_chars": 100,
        "max_texts": 3,
        "max_chars_of_word": 1000,
        "max_words_of_states": 100,
    }


def test_the_page_has_nothing_from_elsewhere(url):
    page = httpx.get(url)
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    files = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {"page.css", "page.js"} <= set(files)
    for name in ("", "page.css", "page.js"):
        answer = httpx.get(f"{url}/{name}")
        assert answer.status_code == 200 and "//" not in re.sub(r"(?m)^\s*//.*", "", answer.text)
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert httpx.get(f"{url}/docs").status_code == 404


def test_metrics(url):
    before = metric(url, 'requests_total{path="/api/analyze",status="200"}'.replace("{", r"\{"))
    httpx.post(f"{url}/api/analyze", json={"text": TEXT})
    httpx.get(f"{url}/made/up")
    answer = httpx.get(f"{url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    lines = answer.text.splitlines()
    assert f'spacy_birnn_requests_total{{path="/api/analyze",status="200"}} {before + 1}' in lines
    assert "process_resident_memory_bytes" in answer.text and "made/up" not in answer.text
    assert "spacy_birnn_requests_in_progress 1.0" in lines
