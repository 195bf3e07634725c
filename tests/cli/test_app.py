"""What all commands do with paths, configs and files that they can't use."""

import errno
import shutil

import pytest
import spacy
from spacy.tokens import DocBin

from spacy_birnn.files import replacing, replacing_files

COMMANDS_WITH_CONFIG = ("check", "info", "tune", "learning-curve")


@pytest.fixture
def no_space(monkeypatch):
    """Files can't be made in any folder."""

    def refuse(**_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("spacy_birnn.cli._app.tempfile.TemporaryFile", refuse)


@pytest.mark.parametrize(
    "args",
    [
        ["evaluate", "MODEL", "data.spacy", "--html", "OUT/page.html"],
        ["explain", "MODEL", "a", "--html", "OUT/page.html"],
        ["trace", "MODEL", "a", "-o", "OUT/states.svg"],
        ["calibrate", "MODEL", "data.spacy", "OUT"],
        ["export", "MODEL", "OUT/a.onnx"],
        ["apply", "MODEL", "INPUT", "OUT/found.jsonl"],
        ["convert", "INPUT", "OUT"],
        ["init", "OUT/config.cfg"],
        ["tune", "CONFIG", "-o", "OUT"],
        ["learning-curve", "CONFIG", "-o", "OUT/found.jsonl"],
    ],
)
def test_what_cannot_be_written_is_said_before_the_work(args, invoke, no_space, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "a", "label": "b"}')
    names = {"OUT": f"{tmp_path}/out", "INPUT": f"{tmp_path}/in.jsonl"}
    for name, path in names.items():
        args = [arg.replace(name, path) for arg in args]
    result = invoke(*args)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert str(tmp_path / "out") in result.stderr.replace("\n", "")
    assert "Read-only file system" in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", COMMANDS_WITH_CONFIG)
@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe[\x00n\x00", b"[nlp", b"a = 1\n", b"[nlp]\nlang = en\n\n[training\n"],
)
def test_a_config_that_cannot_be_read_is_named(name, content, invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.cfg").write_bytes(content)
    result = invoke(name, "broken.cfg")
    assert result.exit_code == 1
    assert "'broken.cfg' is no valid config" in result.stderr


@pytest.mark.parametrize("name", ["info", "tune", "learning-curve"])
def test_a_language_that_there_is_not(name, invoke, tmp_path):
    path = tmp_path / "config.cfg"
    path.write_text('[nlp]\nlang = "qq"\npipeline = []\n\n[training]\n')
    result = invoke(name, path)
    assert result.exit_code == 1
    assert "qq" in result.stderr


@pytest.mark.parametrize("name", ["check", "tune", "learning-curve"])
@pytest.mark.parametrize("code", [None, "print('loaded')\nraise KeyError('no such thing')"])
def test_what_user_code_prints_is_no_result(name, code, invoke, config_path, tmp_path):
    path = tmp_path / "functions.py"
    if code is not None:
        path.write_text(code)
    result = invoke(name, config_path, "--code", path)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert path.name in result.stderr


@pytest.mark.parametrize("name", ["check", "tune", "learning-curve", "init"])
def test_an_argument_too_many(name, invoke, config_path):
    result = invoke(name, config_path, "other.cfg")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "other.cfg" in result.stderr


@pytest.mark.parametrize("name", ["evaluate", "calibrate"])
def test_data_in_another_format(name, invoke, trained_path, tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "a"}')
    result = invoke(name, trained_path, path, *[tmp_path / "out"] * (name == "calibrate"))
    assert result.exit_code == 1
    assert "data.jsonl' is no .spacy file" in " ".join(result.stderr.split())
    assert "birnn convert" in result.stderr


def test_data_that_is_damaged(invoke, trained_path, tmp_path):
    nlp = spacy.blank("xx")
    path = tmp_path / "data.spacy"
    DocBin(docs=[nlp("Anna lives in Oslo")] * 50).to_disk(path)
    path.write_bytes(path.read_bytes()[:-20])
    result = invoke("evaluate", trained_path, path)
    assert result.exit_code == 1
    assert "Can't read" in result.stderr


def test_a_folder_that_is_not_there_is_made(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    with replacing(path) as new:
        new.write_text("a")
    assert path.read_text() == "a"


def test_a_full_disk_is_named_with_the_file(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"), replacing(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_files_are_replaced_all_or_none(tmp_path):
    path = tmp_path / "model"
    for name in ("a", "b"):
        (path / name).mkdir(parents=True)
        (path / name / "file").write_text("old")
    with pytest.raises(OSError, match="full"), replacing_files(path) as new:
        (new / "a").mkdir()
        (new / "a" / "file").write_text("new")
        raise OSError("full")
    assert {file.read_text() for file in path.rglob("file")} == {"old"}
    with replacing_files(path) as new:
        (new / "a").mkdir()
        (new / "a" / "file").write_text("new")
    assert (path / "a" / "file").read_text() == "new"
    assert (path / "b" / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.filterwarnings("ignore:.*BIRNN-W007")
def test_a_full_disk_leaves_the_calibrated_pipeline_as_it_was(
    invoke, trained_path, make_examples, tmp_path, monkeypatch
):
    nlp, out = spacy.load(trained_path), tmp_path / "calibrated"
    DocBin(docs=[eg.y for eg in make_examples(nlp)] * 40).to_disk(tmp_path / "dev.spacy")
    args = ("calibrate", trained_path, tmp_path / "dev.spacy", out)
    assert invoke(*args).exit_code == 0
    assert spacy.load(out).get_pipe("birnn_ner").cfg["temperature"] != 1

    def full(self, path):
        (path / "config.cfg").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    monkeypatch.setattr("spacy.language.Language.to_disk", full)
    result = invoke(*args, "--force")
    assert result.exit_code == 1 and "No space left" in result.stderr
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calibrated", "dev.spacy"]


@pytest.mark.parametrize("file", ["meta.json", "config.cfg", "tokenizer", "vocab/strings.json"])
def test_a_damaged_pipeline_is_named(file, invoke, trained_path, tmp_path):
    shutil.copytree(trained_path, tmp_path / "model")
    (tmp_path / "model" / file).write_text("{")
    result = invoke("explain", tmp_path / "model", "Oslo")
    assert result.exit_code == 1
    assert f"pipeline from '{tmp_path}/model'" in " ".join(result.stderr.split())


@pytest.mark.parametrize("name", ["tune", "learning-curve"])
def test_a_setting_that_there_is_not(name, invoke, config_path, tmp_path):
    result = invoke(name, config_path, "-o", tmp_path / "out", "--training.max_stepz", 5)
    assert result.exit_code == 1
    assert "training.max_stepz" in result.stderr and "'training.max_steps'?" in result.stderr
    assert not (tmp_path / "out").exists()


def test_no_documents_to_score_with(invoke, config_path, tmp_path):
    DocBin().to_disk(tmp_path / "none.spacy")
    args = ("-o", tmp_path / "out", "--corpora.dev.path", tmp_path / "none.spacy")
    result = invoke("learning-curve", config_path, *args)
    assert result.exit_code == 1
    assert "development data holds no documents" in result.stderr
    assert not (tmp_path / "out").exists()


def test_lists_and_examples_keep_their_lines(invoke, config_path):
    result = invoke("tune", config_path)
    assert result.exit_code == 1
    assert "\nlow = 0.0005\nhigh = 0.01\n" in result.stderr
