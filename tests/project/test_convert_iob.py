import convert_iob
import pytest
import spacy
from spacy.tokens import DocBin
from spacy.vocab import Vocab


def convert(text, **options):
    lines = text.splitlines(keepends=True)
    sentences = convert_iob.read_sentences(lines, name="in.conll", **options)
    return [convert_iob.to_doc(rows, Vocab()) for rows in sentences]


def entities(doc):
    return [(ent.text, ent.label_) for ent in doc.ents]


def test_sentences_tokens_and_entities():
    first, second = convert(
        "lunch\tO\nat\tO\nMudlark\tB-location\nPier\tI-location\n:-)\tO\n\n"
        "Ozzie\tB-person\ncan't\tO\n\n"
    )
    assert [token.text for token in first] == ["lunch", "at", "Mudlark", "Pier", ":-)"]
    assert [token.whitespace_ for token in first] == [" "] * 5
    assert entities(first) == [("Mudlark Pier", "location")]
    assert [token.text for token in second] == ["Ozzie", "can't"]
    assert entities(second) == [("Ozzie", "person")]


def test_tokens_outside_are_annotated_as_such():
    (doc,) = convert("so\tO\nquiet\tO\n")
    assert [token.ent_iob_ for token in doc] == ["O", "O"]
    assert doc.has_annotation("ENT_IOB", require_complete=True)


@pytest.mark.parametrize("blank", ["\n", "\t\n", "  \n", "\n\t\n\n", "\r\n"])
def test_blank_lines_end_a_sentence_once(blank):
    docs = convert(f"{blank}one\tO\n{blank}two\tO\n{blank}")
    assert [doc[0].text for doc in docs] == ["one", "two"]


def test_last_sentence_needs_no_blank_line():
    assert [len(doc) for doc in convert("one\tO\n\ntwo\tO\nthree\tB-group")] == [1, 2]


def test_empty_file():
    assert convert("\n\n") == []


@pytest.mark.parametrize(
    "tags,expected",
    [
        # The first of two labels counts
        (["B-person,B-group", "I-person,I-group", "O"], [("a b", "person")]),
        (["B-person,B-group", "I-group,I-person", "O"], [("a", "person"), ("b", "group")]),
        # An entity begins where I- does not go on with one of its label
        (["I-person", "O", "I-person"], [("a", "person"), ("c", "person")]),
        (["I-person", "I-person", "I-group"], [("a b", "person"), ("c", "group")]),
        (["B-person", "B-person", "I-person"], [("a", "person"), ("b c", "person")]),
        (["B-creative-work", "I-creative-work", "O"], [("a b", "creative-work")]),
    ],
)
def test_tags(tags, expected):
    (doc,) = convert("".join(f"{word}\t{tag}\n" for word, tag in zip("abc", tags, strict=True)))
    assert entities(doc) == expected


def test_entity_does_not_reach_over_a_sentence_end():
    docs = convert("a\tB-person\n\nb\tI-person\n")
    assert [entities(doc) for doc in docs] == [[("a", "person")], [("b", "person")]]


@pytest.mark.parametrize(
    "line,message",
    [
        ("alone", r"in\.conll, line 3: found 'alone\\n', expected a token, a tab and a tag"),
        ("word\t", r"line 3: found 'word\\t\\n', expected a token, a tab and a tag"),
        ("\tO", r"line 3: found '\\tO\\n', expected a token, a tab and a tag"),
        ("word\tO\tO", r"line 3: found 'word\\tO\\tO\\n', expected a token, a tab and a tag"),
        ("word\tE-person", r"line 3: found the tag 'E-person', expected 'O', or 'B-' or 'I-'"),
        ("word\tB-", r"line 3: found the tag 'B-', expected 'O', or 'B-' or 'I-' and a label"),
        ("word\tperson", r"line 3: found the tag 'person', expected 'O', or 'B-' or 'I-'"),
        ("word\t,B-person", r"line 3: found the tag ',B-person', expected 'O', or 'B-' or 'I-'"),
    ],
)
def test_malformed_line(line, message):
    with pytest.raises(ValueError, match=message):
        convert(f"fine\tO\n\n{line}\nfine\tO\n")


def test_rows_without_a_token_are_left_out_on_demand():
    text = "one\tO\n \tO\ntwo\tB-person\n\tO\r\nthree\tI-person\n\n\tO\n\nfour\tO\n"
    first, second = convert(text, drop_blank=True)
    assert [token.text for token in first] == ["one", "two", "three"]
    assert entities(first) == [("two three", "person")]
    assert [token.text for token in second] == ["four"]
    with pytest.raises(ValueError, match="line 2: found ' \\\\tO"):
        convert(text)


@pytest.mark.parametrize("line", ["\tB-person", " \tI-person", "\tO\tO", "word", "word\t", "O"])
def test_only_rows_outside_of_entities_are_left_out(line):
    """What is malformed in another way, or would take a token from an entity, stays an error."""
    with pytest.raises(ValueError, match="line 2: found"):
        convert(f"fine\tO\n{line}\nfine\tO\n", drop_blank=True)


def read(path):
    return list(DocBin().from_disk(path).get_docs(spacy.blank("en").vocab))


def test_script_writes_a_corpus(tmp_path):
    in_file, out_file = tmp_path / "in.conll", tmp_path / "new" / "out.spacy"
    in_file.write_text("Zoë\tB-person\n😀\u2028\tO\n\t\nso\tO\n", encoding="utf8")
    convert_iob.main([str(in_file)], out_file)
    docs = read(out_file)
    assert [doc.text for doc in docs] == ["Zoë 😀\u2028 ", "so "]
    assert [entities(doc) for doc in docs] == [[("Zoë", "person")], []]
    assert all(doc.has_annotation("ENT_IOB", require_complete=True) for doc in docs)


def test_script_joins_files_and_parts_of_files(tmp_path, capsys):
    first, second, out_file = (tmp_path / name for name in ("a", "b.conll", "out.spacy"))
    first.write_text("a\tO\n\nb\tO\n\n \tO\n", encoding="utf8")
    second.write_text("c\tO\n\nd\tO\n\ne\tO\n\n", encoding="utf8")
    convert_iob.main([str(first), f"{second}@:-1"], out_file, drop_blank=True)
    assert [doc[0].text for doc in read(out_file)] == ["a", "b", "c", "d"]
    printed = " ".join(capsys.readouterr().out.split())
    assert "4 sentences, 0 entities" in printed and "1 rows of the files have no token" in printed
    convert_iob.main([f"{second}@1:2"], out_file)
    assert [doc[0].text for doc in read(out_file)] == ["d"]
    assert "no token" not in capsys.readouterr().out


def test_script_names_the_file_and_writes_nothing_on_an_error(tmp_path):
    in_file, out_file = tmp_path / "in.conll", tmp_path / "new" / "out.spacy"
    in_file.write_text("fine\tO\nalone\n", encoding="utf8")
    with pytest.raises(ValueError, match=r"in\.conll, line 2: found 'alone\\n'"):
        convert_iob.main([str(in_file)], out_file)
    assert not out_file.exists()
