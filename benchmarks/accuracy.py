"""Train our pipes and spaCy's on the same data, each with its own recommended config; compare their
accuracy on the test data and the time that training takes. See README.md beside this file."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from common import RESULTS, ROOT
from comparison import Comparison, Task
from corpora import convert_sst2, convert_ud, convert_wnut17
from spacy_configs import textcat_cnn, textcat_ensemble

app = typer.Typer(add_completion=False, help=__doc__)
Data = Annotated[Path, typer.Option(help="Folder with the raw files of the corpus")]
Seeds = Annotated[str, typer.Option(help="Seeds, with commas between them")]
Ours = Annotated[Path | None, typer.Option(help="Our config [default: project/configs/]")]
Work = Annotated[Path | None, typer.Option(help="Work folder [default: a temporary one]")]
Results = Annotated[Path, typer.Option(help="Folder for the results")]
Threads = Annotated[int, typer.Option(help="Threads of each training", min=1)]
MaxSteps = Annotated[int, typer.Option(help="Stop early, for a trial; 0: as configured", min=0)]
Resume = Annotated[bool, typer.Option("--resume", help="Keep finished trainings of --work")]


@app.command()
def wnut17(
    data: Data,
    seeds: Seeds = "0,1,2",
    ours: Ours = None,
    work: Work = None,
    results: Results = RESULTS,
    threads: Threads = 1,
    max_steps: MaxSteps = 0,
    resume: Resume = False,
) -> None:
    """Named entities on WNUT-17: spaCy's `ner` and `birnn_ner`."""
    task = Task(
        name="accuracy-wnut17",
        command=f"python benchmarks/accuracy.py wnut17 --data DIR --seeds {seeds}",
        lang="en",
        pipes=("ner",),
        measures={"ents_p": "precision", "ents_r": "recall", "ents_f": "F1"},
        dev_weights={"ents_f": 1.0},
    )
    run = Comparison(
        task=task,
        ours=ours or ROOT / "project" / "configs" / "wnut17.cfg",
        work=_work_dir(work) / "wnut17",
        results=results,
        threads=threads,
        max_steps=max_steps,
        resume=resume,
    )
    run.compare(_parse_seeds(seeds), convert=lambda out: convert_wnut17(data, out))


@app.command()
def ud(
    data: Data,
    treebank: Annotated[str, typer.Option(help="What the files' names begin with")] = "en_partut",
    lang: Annotated[str, typer.Option(help="Language code")] = "en",
    seeds: Seeds = "0,1,2",
    ours: Ours = None,
    work: Work = None,
    results: Results = RESULTS,
    threads: Threads = 1,
    max_steps: MaxSteps = 0,
    resume: Resume = False,
    n_sents: Annotated[int, typer.Option(help="Sentences of a document", min=1)] = 1,
    merge_subtokens: Annotated[bool, typer.Option(help="Keep written words whole")] = False,
) -> None:
    """Tags and morphology on a treebank: spaCy's `tagger` and `morphologizer`, and ours."""
    options = f" --n-sents {n_sents}" if n_sents > 1 else ""
    options += " --merge-subtokens" if merge_subtokens else ""
    task = Task(
        name=f"accuracy-ud-{treebank}",
        command=f"python benchmarks/accuracy.py ud --data DIR --treebank {treebank} --lang {lang}"
        f" --seeds {seeds}{options}",
        lang=lang,
        pipes=("tagger", "morphologizer"),
        measures={"tag_acc": "TAG", "upos_feats_acc": "UPOS+FEATS", "ceiling": "ceiling"},
        dev_weights={"tag_acc": 0.5, "pos_acc": 0.25, "morph_acc": 0.25},
    )
    run = Comparison(
        task=task,
        ours=ours or ROOT / "project" / "configs" / "ud.cfg",
        work=_work_dir(work) / f"ud-{treebank}",
        results=results,
        threads=threads,
        max_steps=max_steps,
        resume=resume,
    )

    def convert(out: Path) -> dict[str, Path]:
        return convert_ud(
            data, out, treebank=treebank, n_sents=n_sents, merge_subtokens=merge_subtokens
        )

    run.compare(_parse_seeds(seeds), convert=convert)


@app.command()
def sst2(
    data: Data,
    seeds: Seeds = "0,1,2",
    ours: Ours = None,
    work: Work = None,
    results: Results = RESULTS,
    threads: Threads = 1,
    max_steps: MaxSteps = 0,
    resume: Resume = False,
) -> None:
    """Sentiment on SST-2: spaCy's `textcat`, as an ensemble and as a CNN, and `birnn_textcat`."""
    task = Task(
        name="accuracy-sst2",
        command=f"python benchmarks/accuracy.py sst2 --data DIR --seeds {seeds}",
        lang="en",
        pipes=("textcat",),
        measures={"cats_micro_f": "accuracy", "cats_macro_f": "macro F1"},
        dev_weights={"cats_micro_f": 1.0},
        spacy={
            "spacy-ensemble": ("spaCy ensemble", textcat_ensemble),
            "spacy-cnn": ("spaCy CNN", textcat_cnn),
        },
    )
    run = Comparison(
        task=task,
        ours=ours or ROOT / "project" / "configs" / "sst2.cfg",
        work=_work_dir(work) / "sst2",
        results=results,
        threads=threads,
        max_steps=max_steps,
        resume=resume,
    )
    run.compare(_parse_seeds(seeds), convert=lambda out: convert_sst2(data, out))


@app.command()
def lemma(
    data: Data,
    treebank: Annotated[str, typer.Option(help="What the files' names begin with")] = "en_partut",
    lang: Annotated[str, typer.Option(help="Language code")] = "en",
    seeds: Seeds = "0,1,2",
    ours: Ours = None,
    work: Work = None,
    results: Results = RESULTS,
    threads: Threads = 1,
    max_steps: MaxSteps = 0,
    resume: Resume = False,
) -> None:
    """Lemmas on a treebank, on its own tokens: spaCy's `trainable_lemmatizer` and ours."""
    task = Task(
        name=f"accuracy-lemma-{treebank}",
        command=f"python benchmarks/accuracy.py lemma --data DIR --treebank {treebank}"
        f" --lang {lang} --seeds {seeds}",
        lang=lang,
        pipes=("trainable_lemmatizer",),
        measures={"lemma_acc": "lemmas", "unseen_acc": "lemmas of unseen forms"},
        dev_weights={"lemma_acc": 1.0},
        gold_tokens=True,
    )
    run = Comparison(
        task=task,
        ours=ours or ROOT / "project" / "configs" / "ud_lemma.cfg",
        work=_work_dir(work) / f"lemma-{treebank}",
        results=results,
        threads=threads,
        max_steps=max_steps,
        resume=resume,
    )

    def convert(out: Path) -> dict[str, Path]:
        return convert_ud(data, out, treebank=treebank, n_sents=1, merge_subtokens=False)

    run.compare(_parse_seeds(seeds), convert=convert)


def _work_dir(work: Path | None) -> Path:
    return Path(tempfile.mkdtemp(prefix="birnn-benchmark-")) if work is None else work.resolve()


def _parse_seeds(seeds: str) -> list[int]:
    try:
        return [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--seeds {seeds!r}; expected numbers such as 0,1,2") from None


if __name__ == "__main__":
    app()
