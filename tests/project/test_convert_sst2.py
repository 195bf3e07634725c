import convert_sst2
import pytest
import spacy
from spacy.tokens import DocBin
from spacy.training import Corpus
from spacy.vocab import Vocab


def convert(text):
    return list(convert_sst2.read_docs(text.splitlines(keepends=True), Vocab(), name="in.txt"))


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
    with pytest.raises(ValueError, match=rf"in\.txt, line 2: found '{line}\\n', expected '0' or"):
        convert(f"1 fine\n{line}\n0 fine\n")


def test_script_writes_a_corpus_whose_tokens_training_keeps(tmp_path):
    in_file, out_file = tmp_path / "in.txt", tmp_path / "new" / "out.spacy"
    in_file.write_text("1 Zoë ca n't lose\n0 so-so ...\n", encoding="utf8")
    convert_sst2.main(in_file, out_file)
    docs = list(DocBin().from_disk(out_file).get_docs(spacy.blank("en").vocab))
    assert [doc.cats["POSITIVE"] for doc in docs] == [1.0, 0.0]
    first, second = Corpus(out_file)(spacy.blank("en"))
    assert [token.text for token in first.x] == ["Zoë", "ca", "n't", "lose"]
    assert [token.text for token in second.x] == ["so-so", "..."]


def test_script_names_the_file_and_writes_nothing_on_an_error(tmp_path):
    in_file, out_file = tmp_path / "in.txt", tmp_path / "new" / "out.spacy"
    in_file.write_text("1 fine\nalone\n", encoding="utf8")
    with pytest.raises(ValueError, match=r"in\.txt, line 2: found 'alone\\n'"):
        convert_sst2.main(in_file, out_file)
    assert not out_file.exists()
