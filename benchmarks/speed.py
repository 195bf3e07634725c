"""How fast trained pipelines read raw text, ours against spaCy's and against other libraries: words
a second, time to the first answer, memory, one long document and a long stream. Each figure comes
from a process of its own. See README.md beside this file."""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from os import environ
from pathlib import Path
from typing import Annotated, Any

import spacy
import typer
from common import RESULTS, check_dir, check_file, console, describe_run, thread_env, write_results
from corpora import raw_texts
from peers import BUILDERS, vocabulary
from rich.progress import track
from spacy.language import Language
from speed_report import READING_WAYS, picture, report
from training import run_logged

HERE = Path(__file__).resolve().parent
WARM_UP_TEXTS = 200
PAIR = "NAME=SPACY_DIR,OUR_DIR"
# What is timed, and the side whose pipeline it takes
VARIANTS = {"tokenizer": "spacy", "spacy": "spacy", "spacy numpy": "spacy", "ours": "ours"}

Pair = dict[str, Path]


def find_pairs(work: Path) -> dict[str, Pair]:
    """The pipelines that accuracy.py left in its work folder, of the first seed of each task."""
    check_dir(work, expected="a folder that accuracy.py had as --work")
    pairs: dict[str, Pair] = {}
    for best in sorted(work.glob("*/spacy-seed*/model-best")):
        run = best.parent
        ours = run.with_name(run.name.replace("spacy-", "ours-", 1)) / "model-best"
        if ours.is_dir():
            pairs.setdefault(run.parent.name, {"spacy": best, "ours": ours})
    if not pairs:
        expected = "TASK/spacy-seedN/model-best and TASK/ours-seedN/model-best"
        raise typer.BadParameter(f"no trained pipelines in '{work}'; expected {expected}")
    return pairs


def split_option(value: str, *, option: str, form: str) -> tuple[str, str]:
    """RAISES (typer.BadParameter): Unless the value has the form NAME=REST."""
    name, equals, rest = value.partition("=")
    if not (name and equals and rest):
        raise typer.BadParameter(f"{option} {value!r}; expected {form}")
    return name, rest


def parse_pair(value: str) -> tuple[str, Pair]:
    """RAISES (typer.BadParameter): Unless the value names two folders with pipelines."""
    name, rest = split_option(value, option="--pair", form=PAIR)
    paths = [Path(path) for path in rest.split(",")]
    if len(paths) != 2:
        raise typer.BadParameter(f"--pair {value!r}; expected {PAIR}")
    for path in paths:
        check_file(path / "meta.json", expected="that of a trained pipeline")
    return name, {"spacy": paths[0], "ours": paths[1]}


def finds_entities(pair: Pair) -> bool:
    """Whether the networks of other libraries do the same as this pair."""
    meta = json.loads((pair["ours"] / "meta.json").read_text(encoding="utf8"))
    return "ner" in meta["pipeline"] or "birnn_ner" in meta["pipeline"]


def take(nlp: Language, texts: list[str], *, words: int) -> list[str]:
    """As many texts from the beginning as have a number of words, repeated if they are too few."""
    chosen: list[str] = []
    n_words = 0
    while n_words < words:
        for text in texts:
            chosen.append(text)
            n_words += len(nlp.make_doc(text))
            if n_words >= words:
                break
    return chosen


def tokens_of(nlp: Language, texts: list[str]) -> list[list[str]]:
    """What libraries get that are given tokens."""
    docs = (nlp.make_doc(text) for text in texts)
    return [[token.text for token in doc if not token.is_space] or ["-"] for doc in docs]


@dataclass
class Bench:
    """Where and how the measurements of one run are made.

    folder (Path): Folder for what they exchange.
    threads (int): Threads of each.
    peers_python (str): The interpreter that runs the networks of other libraries.
    peers (dict[str, str]): Those of the networks that could be built, and the version of each.
    """

    folder: Path
    threads: int
    peers_python: str
    peers: dict[str, str] = field(default_factory=dict)

    def file(self, name: str, data: Any) -> str:
        """Write what a measurement reads, and give its path."""
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(data), encoding="utf8")
        return str(path)

    def inputs(self, name: str, warm_up: list, texts: list) -> dict[str, Any]:
        """What a measurement reads: the first text, and the files of the others."""
        files = {"warm_up": warm_up, "texts": texts}
        paths = {part: self.file(f"{part}-{name}", data) for part, data in files.items()}
        return {"first": warm_up[0], **paths}

    def run(self, command: list[str], *, title: str = "") -> str:
        """Run a script that stands beside this one, and give what it prints.

        command (list[str]): The interpreter, the script and its arguments.
        title (str): If it takes long, what to call it while its last line is shown.
        RAISES (RuntimeError): If it fails, with what it printed.
        """
        command = [command[0], str(HERE / command[1]), *command[2:]]
        log = self.folder / "log.txt"
        if title:
            code = run_logged(command, title=title, log=log, threads=self.threads)
        else:
            env = {**environ, **thread_env(self.threads)}
            with log.open("w", encoding="utf8") as out:
                done = subprocess.run(command, env=env, stdout=out, stderr=out, check=False)
            code = done.returncode
        printed = log.read_text(encoding="utf8").strip()
        if code:
            raise RuntimeError(f"{' '.join(command)} failed:\n{printed}")
        return printed

    def build_peer(self, name: str, words: str) -> None:
        """Build the network of another library. If that fails, it is left out.

        name (str): One of peers.py's BUILDERS.
        words (str): The file with the vocabulary.
        """
        try:
            printed = self.run([self.peers_python, "peers.py", name, str(self.folder), words])
        except RuntimeError as err:
            console.print(f"{name} is left out: {str(err).splitlines()[-1]}")
        else:
            self.peers[name] = printed.splitlines()[-1]

    def measure(
        self, variant: str, pair: Pair, *, way: str, title: str = "", **inputs: Any
    ) -> dict[str, Any]:
        """One measurement of speed_one.py, in a process of its own.

        variant (str): One of VARIANTS, or of the peers.
        pair (Pair): The pipelines.
        way (str): One of speed_one.py's WAYS.
        title (str): If it takes long, what to call it.
        inputs: What it reads: "first", the first text, and by their paths the others.
        RETURNS (dict[str, Any]): What it found.
        """
        peer, out = variant in self.peers, self.folder / "found.json"
        path = self.folder / variant if peer else pair[VARIANTS[variant]]
        job = {"variant": variant, "peer": peer, "path": str(path), "way": way, "out": str(out)}
        job |= {**inputs, "started": time.time()}
        python = self.peers_python if peer else sys.executable
        self.run([python, "speed_one.py", json.dumps(job)], title=title)
        return json.loads(out.read_text(encoding="utf8"))

    def compare(
        self, pair: Pair, *, texts: list[str], words: int, rounds: int, title: str
    ) -> dict[str, list[dict[str, Any]]]:
        """Measure all variants in turn, in each round in the opposite order of the one before.

        RETURNS (dict[str, list[dict[str, Any]]]): For each variant and each round what it found in
            each of READING_WAYS.
        """
        nlp = spacy.load(pair["spacy"])
        warm_up, rest = texts[-WARM_UP_TEXTS:], texts[:-WARM_UP_TEXTS] or texts
        chosen = take(nlp, rest, words=words)
        plain = self.inputs("text", warm_up, chosen)
        tokens = self.inputs("tokens", tokens_of(nlp, warm_up), tokens_of(nlp, chosen))
        variants = [*VARIANTS, *(self.peers if finds_entities(pair) else ())]
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in variants}
        order = [
            (name, way)
            for i in range(rounds)
            for name in (variants if i % 2 == 0 else variants[::-1])
            for way in READING_WAYS
        ]
        for name, way in track(order, description=title, console=console):
            if way == READING_WAYS[0]:
                found[name].append({})
            inputs = tokens if name in self.peers else plain
            found[name][-1][way] = self.measure(name, pair, way=way, **inputs)
        return found

    def compare_documents(
        self, pair: Pair, *, texts: list[str], words: int, rounds: int, title: str
    ) -> dict[str, list[dict[str, Any]]]:
        """The seconds for one document of a number of words."""
        nlp = spacy.load(pair["spacy"])
        document = self.file("document", " ".join(take(nlp, texts, words=words)))
        variants = [name for name in VARIANTS if name != "tokenizer"]
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in variants}
        for i in track(range(rounds), description=title, console=console):
            for name in variants if i % 2 == 0 else variants[::-1]:
                result = self.measure(name, pair, way="document", first=texts[0], document=document)
                found[name].append(result)
        return found

    def soak(self, pair: Pair, *, texts: list[str], words: int, title: str) -> dict[str, Any]:
        """The memory while a number of words is read."""
        inputs = {"first": texts[0], "texts": self.file("stream", texts), "words": words}
        return {
            name: self.measure(name, pair, way="soak", title=f"{title}, {name}", **inputs)
            for name in ("spacy", "ours")
        }


def main(
    data: Annotated[list[str], typer.Option(help="Raw text, NAME=DIR; may be repeated")],
    work: Annotated[Path | None, typer.Option(help="Work folder that accuracy.py left")] = None,
    pair: Annotated[list[str] | None, typer.Option(help=f"{PAIR}; may be repeated")] = None,
    words: Annotated[int, typer.Option(help="Words of each reading, at least", min=1)] = 20000,
    rounds: Annotated[int, typer.Option(help="Rounds", min=1)] = 3,
    document: Annotated[
        int, typer.Option(help="Words of the long document; 0: none", min=0)
    ] = 50000,
    soak: Annotated[
        float, typer.Option(help="Million words to stream through the first pair; 0: none", min=0)
    ] = 10,
    peers: Annotated[
        Path | None, typer.Option(help="The Python of an environment with the other libraries")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads", min=1)] = 1,
    results: Annotated[Path, typer.Option(help="Folder for the results")] = RESULTS,
) -> None:
    """Every pair of pipelines on every corpus; the results are written after each part."""
    pairs = dict(parse_pair(value) for value in pair or [])
    pairs |= find_pairs(work) if work is not None else {}
    if not pairs:
        raise typer.BadParameter("no pipelines to compare; expected --work or --pair")
    if peers is not None:
        check_file(peers, expected="a Python interpreter")
    named = [split_option(value, option="--data", form="NAME=DIR") for value in data]
    corpora = {name: raw_texts(Path(folder)) for name, folder in named}
    everything = [text for texts in corpora.values() for text in texts]
    options = [f"--data {name}=DIR" for name in corpora] + (["--work DIR"] if work else [])
    options += [f"--pair {value.partition('=')[0]}=DIR,DIR" for value in pair or []]
    options += [f"--words {words} --rounds {rounds} --document {document} --soak {soak:g}"]
    options += ["--peers PYTHON"] if peers else []
    command = f"python benchmarks/speed.py {' '.join(options)} --threads {threads}"
    out: dict[str, Any] = {"run": describe_run(threads=threads, command=command)}
    out |= {"words": words, "n_rounds": rounds, "results": [], "documents": [], "soak": None}

    def write() -> None:
        write_results(results, "speed", data=out, markdown=report(out))

    with tempfile.TemporaryDirectory(prefix="birnn-speed-") as folder:
        bench = Bench(Path(folder), threads, str(peers or sys.executable))
        if peers is not None:
            nlp = spacy.load(next(iter(pairs.values()))["spacy"])
            words_file = bench.file("vocabulary", vocabulary(tokens_of(nlp, everything)))
            for name in track(BUILDERS, description="other libraries", console=console):
                bench.build_peer(name, words_file)
            out["run"]["versions"] |= {f"{name} (peer)": v for name, v in bench.peers.items()}
        for name, paths in pairs.items():
            for corpus, texts in corpora.items():
                title = f"{name} on {corpus}"
                found = bench.compare(paths, texts=texts, words=words, rounds=rounds, title=title)
                out["results"].append({"corpus": corpus, "pair": name, "found": found})
                write()
            if document:
                title = f"{name}, one document"
                found = bench.compare_documents(
                    paths, texts=everything, words=document, rounds=rounds, title=title
                )
                out["documents"].append({"pair": name, "words": document, "found": found})
                write()
        if soak:
            name, paths = next(iter(pairs.items()))
            total = round(soak * 1_000_000)
            points = bench.soak(paths, texts=everything, words=total, title=f"{name}, stream")
            out["soak"] = {"pair": name, "words": total, "found": points}
            (results / "speed-memory.svg").write_text(picture(out["soak"]), encoding="utf8")
            write()
    console.print(f"Wrote speed.json and speed.md to {results}")
    print(report(out))


if __name__ == "__main__":
    typer.run(main)
