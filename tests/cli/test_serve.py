"""`birnn serve`: what it says before it serves, and how it ends. The service itself is tested in
tests/serving."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from spacy_birnn.cli.serve import check_pipeline, is_loopback, listen

COMMAND = [sys.executable, "-c", "from spacy_birnn.cli import main; main()", "serve"]


@pytest.fixture
def start():
    """Start the command, and give the process and its address."""
    processes = []

    def begin(*args):
        command = [*COMMAND, *args, "--port", "0"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        said = ""
        for line in process.stderr:
            said += line
            if address := re.search(r"http://[\d.]+:\d+", line):
                return process, address[0]
        raise AssertionError(said)

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM")
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_all_is_answered(start, trained_path, sign):
    process, url = start(trained_path, "--batch-size", "1")
    text = "Anna Berg flew from Oslo to New York . " * 10

    async def counts(client):
        """Of the requests those that are not answered, but for this one, and those that are."""
        metrics = (await client.get(f"{url}/metrics")).text
        now = re.findall(r"(?m)^spacy_birnn_requests_in_progress (\S+)", metrics)
        done = re.findall(r"(?m)^spacy_birnn_requests_total.*analyze-batch.* (\S+)$", metrics)
        return float(now[0]) - 1, sum(map(float, done))

    async def ask():
        async with httpx.AsyncClient(timeout=60) as client:
            asked = [
                asyncio.create_task(
                    client.post(f"{url}/api/analyze-batch", json={"texts": [text] * 4})
                )
                for _ in range(8)
            ]
            # Until the service has them all
            while sum(await counts(client)) < 8:
                await asyncio.sleep(0.001)
            process.send_signal(sign)
            return await asyncio.gather(*asked)

    answers = asyncio.run(ask())
    assert [answer.status_code for answer in answers] == [200] * 8
    assert all(len(answer.json()["documents"]) == 4 for answer in answers)
    assert process.wait(60) == 0
    assert process.stderr.read() == ""
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_options_reach_the_service(start, trained_path):
    limits = ["--max-chars", "10", "--max-texts", "2", "--max-waiting", "2"]
    process, url = start(trained_path, *limits)
    assert httpx.get(f"{url}/ready").json() == {"status": "ready"}
    found = httpx.get(f"{url}/api/pipeline").json()
    assert found["limits"]["max_chars"] == 10 and found["limits"]["max_texts"] == 2
    refused = httpx.post(f"{url}/api/analyze", json={"text": "a" * 11})
    assert refused.status_code == 413


def test_a_port_that_is_taken_is_said_before_anything_is_loaded(invoke):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = invoke("serve", "no/such/pipeline", "--port", port)
    assert result.exit_code == 1
    said = " ".join(result.stderr.split())
    assert f"port {port}" in said and "already in use" in said and "--port" in said
    assert "Traceback" not in result.stderr and "no/such" not in result.stderr


@pytest.mark.parametrize(
    "args, code, message",
    [
        (["--host", "no.such.host.invalid"], 1, "no.such.host.invalid"),
        (["--port", "0"], 1, "Can't load a pipeline from 'no/such/pipeline'"),
        (["--port", "70000"], 2, "65535"),
        (["--max-texts", "20", "--max-waiting", "10"], 2, "--max-waiting"),
        (["--batch-size", "0"], 2, "--batch-size"),
    ],
)
def test_what_it_is_called_with_in_vain(invoke, args, code, message):
    result = invoke("serve", "no/such/pipeline", *args)
    assert result.exit_code == code
    assert message in " ".join(result.stderr.split())


def test_a_pipeline_of_which_there_is_nothing_to_serve(invoke, tmp_path, nlp):
    nlp.to_disk(tmp_path / "blank")
    result = invoke("serve", tmp_path / "blank", "--port", "0")
    assert result.exit_code == 1
    assert "has no components" in " ".join(result.stderr.split())


def test_a_pipeline_that_is_not_trained_is_refused(nlp):
    nlp.add_pipe("birnn_ner").add_label("GPE")
    with pytest.raises(ValueError, match="BIRNN-E010"):
        check_pipeline(nlp, "untrained")


def test_a_pipeline_without_our_components_is_served_with_a_warning(nlp, capsys):
    nlp.add_pipe("sentencizer")
    check_pipeline(nlp, "rules")
    assert "No component of 'rules'" in " ".join(capsys.readouterr().err.split())


def test_without_the_extra_it_says_how_to_get_it(invoke, trained_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    result = invoke("serve", trained_path)
    assert result.exit_code == 1 and "spacy-birnn[serve]" in result.stderr


def test_where_it_listens():
    with listen("localhost", 0) as local:
        assert is_loopback(local)
    with listen("0.0.0.0", 0) as everywhere:
        assert not is_loopback(everywhere)
