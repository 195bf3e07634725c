import convert_textcat
import pytest
import spacy
from spacy.tokens import DocBin
from spacy.training import Corpus
from spacy.vocab import Vocab

LABELS = {"0": "NEGATIVE", "1": "POSITIVE"}
OPTIONS = ["0=NEGATIVE", "1=POSITIVE"]


def convert(text, labels=LABELS):
    lines = text.splitlines(keepends=True)
    return list(convert_textcat.read_docs(lines, Vocab(), labels=labels, name="in.txt"))


def read(path):
    return list(DocBin().from_disk(path).get_docs(spacy.blank("en").vocab))


def test_sentences_tokens_and_categories():
    first, second = convert("1 a good-natured film .\n\n0 it 's 2 hours too long\n")
    assert [token.text for token in first] == ["a", "good-natured", "film", "."]
    assert first.cats == {"POSITIVE": 1.0, "NEGATIVE": 0.0}
    assert [token.text for token in second] == ["it", "'s", "2", "hours", "too", "long"]
    assert second.cats == {"POSITIVE": 0.0, "NEGATIVE": 1.0}


@pytest.mark.parametrize("text", ["", "\n", " \n\t\n"])
def test_blank_lines_are_no_sentences(text):
    assert convert(text) == []


@pytest.mark.parametrize("line", ["2 good", "good", "1", "1 ", "POSITIVE good", "-1 bad", "01 bad"])
def test_malformed_line(line):
    with pytest.raises(
        ValueError, match=rf"line 2: found '{line}\\n', expected a class \('0', '1'\)"
    ):
        convert(f"1 fine\n{line}\n0 fine\n")


def test_script_writes_a_corpus_whose_tokens_training_keeps(tmp_path):
    in_file, out_file = tmp_path / "in.txt", tmp_path / "new" / "out.spacy"
    in_file.write_text("1 Zoë ca n't lose\n0 so-so ...\n", encoding="utf8")
    convert_textcat.main([str(in_file)], out_file, OPTIONS)
    docs = read(out_file)
    assert [doc.cats["POSITIVE"] for doc in docs] == [1.0, 0.0]
    first, second = Corpus(out_file)(spacy.blank("en"))
    assert [token.text for token in first.x] == ["Zoë", "ca", "n't", "lose"]
    assert [token.text for token in second.x] == ["so-so", "..."]


def test_more_classes_another_encoding_and_a_part_of_the_file(tmp_path, capsys):
    in_file, out_file = tmp_path / "in.txt", tmp_path / "out.spacy"
    in_file.write_bytes("a x\nb y\n\nc sisterðcity\na z\n".encode("latin-1"))
    options = ["a=DESC", "b=ENTY", "c=HUM"]
    convert_textcat.main([f"{in_file}@-3:-1"], out_file, options, encoding="latin-1")
    first, second = read(out_file)
    assert first.cats == {"DESC": 0.0, "ENTY": 1.0, "HUM": 0.0}
    assert second[0].text == "sisterðcity" and second.cats["HUM"] == 1.0
    assert "2 sentences, 0 DESC, 1 ENTY, 1 HUM" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("value", ["1", "1=", "=X", "0=OTHER", "1=NEGATIVE"])
def test_labels_that_are_none(value):
    with pytest.raises(ValueError, match=rf"--label '{value}'; expected CLASS=CATEGORY"):
        convert_textcat.parse_labels(["0=NEGATIVE", value])


def test_script_names_the_file_and_writes_nothing_on_an_error(tmp_path):
    in_file, out_file = tmp_path / "in.txt", tmp_path / "new" / "out.spacy"
    in_file.write_text("1 fine\nalone\n", encoding="utf8")
    with pytest.raises(ValueError, match=r"in\.txt, line 2: found 'alone\\n'"):
        convert_textcat.main([str(in_file)], out_file, OPTIONS)
    assert not out_file.exists()
