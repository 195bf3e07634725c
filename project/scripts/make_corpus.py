"""Write the sample corpus: made-up English in which a word often becomes clear only later on.

The sentences come from two data files, sample/grammar.yml and sample/lexicon.yml. Most texts belong
to a minimal pair: two texts that are the same up to an ambiguous word and for a few tokens after
it, and then go on in two ways that give the word two readings. Both are always in the same part of
the corpus, so a model that only reads from left to right cannot get more than half of these words
right, whatever it has learned. The ambiguous word is marked in a span group, with the number of
tokens from there to the cue as its label: doc.spans["ambiguous"] where the entity is in question,
doc.spans["homograph"] where it is the tag.
"""

import random
import zlib
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, cycle, islice, product
from pathlib import Path
from typing import Annotated, Any, Callable, Iterator, Optional, Union

import spacy
import srsly
import typer
from spacy.tokens import Doc, DocBin, Span
from spacy.vocab import Vocab
from wasabi import msg

SPLITS = ("train", "dev", "test")
SENTIMENTS = ("POSITIVE", "NEGATIVE", "NEUTRAL")
DISTANCES = range(1, 9)
PAIR_SHARE = 0.6  # of all texts
LEAD_SHARE = 0.1  # of the draws: a sentence about something else comes first
LOWER_SHARE = 0.1  # of the draws: no capital letters
MAX_DRAWS = 200  # before giving up on finding a text that the corpus does not have yet
CLINGING = {",", ".", "''"}  # tags of tokens with no space before them
SAMPLE_DIR = Path(__file__).resolve().parent.parent / "sample"


@dataclass(frozen=True)
class Token:
    """A token with its annotation; `iob` is "O", or "B-" or "I-" and the label of an entity."""

    text: str
    tag: str
    pos: str
    morph: str
    lemma: str
    iob: str = "O"


@dataclass(frozen=True)
class Mark:
    """The ambiguous word of a text: its span group, its position and the distance of its cue."""

    group: str
    index: int
    distance: int


@dataclass(frozen=True)
class Text:
    """A text of one or two sentences, and the name of the construction that makes it what it is."""

    name: str
    sentences: list[list[Token]]
    sentiment: str
    mark: Optional[Mark] = None

    @property
    def tokens(self) -> list[Token]:
        """The tokens of all sentences."""
        return [token for sentence in self.sentences for token in sentence]


class Writer:
    """Draws random texts for one part of the corpus."""

    def __init__(
        self, grammar: dict[str, Any], lexicon: dict[str, Any], *, split: str, seed: int
    ) -> None:
        """Keep what the split may use. Every template is looked through here, so that an error in
        the data files comes up at once and not only with some seeds.
        """
        self.rng = random.Random(f"{split} {seed}")
        self.tags = lexicon["tags"]
        self.literals = [self._token(*row) for row in lexicon["literals"]]
        classes = lexicon["classes"]
        self.forms = {name: lexicon["paradigms"][classes[name]["paradigm"]] for name in classes}
        self.rows = {name: _rows(classes[name]["words"], split=split) for name in classes}
        self.names = {name: _names(parts, split=split) for name, parts in lexicon["names"].items()}
        self.entities = grammar["entities"]
        self.phrases = grammar["phrases"]
        self.fillers = grammar["fillers"]
        self.pairs = {
            kind: [pair for pair in pairs if split in pair["splits"]]
            for kind, pairs in grammar["pairs"].items()
        }
        self.singles = [single for single in grammar["sentences"] if split in single["splits"]]
        self.leads = [
            single for single in self.singles if single.get("sentiment", "NEUTRAL") == "NEUTRAL"
        ]
        for template in self._templates():
            for piece in template.split():
                self._resolve(piece, template)
        for pair in chain.from_iterable(self.pairs.values()):
            self._readings(pair)

    def draw_single(self) -> list[Text]:
        """One text that is not part of a pair."""
        single = self.rng.choice(self.singles)
        sentence = self.expand(self.rng.choice(single["texts"]))
        lead, lower = self._lead(), self.rng.random() < LOWER_SHARE
        sentences = [_finish(tokens, lower=lower) for tokens in [*lead, sentence]]
        return [Text(single["name"], sentences, single.get("sentiment", "NEUTRAL"))]

    def draw_pair(self, kind: str, distance: int) -> list[Text]:
        """A minimal pair: one text for each reading of an ambiguous word, with the cue that many
        tokens after the word.
        """
        choices = [
            (pair, fillers)
            for pair in self.pairs[kind]
            if (fillers := self._fillers(pair["filler"], length=distance - 1))
        ]
        if not choices:
            raise ValueError(f"No pair in '{kind}' has a filler of {distance - 1} tokens")
        pair, fillers = self.rng.choice(choices)
        lead, before = self._lead(), self.expand(pair.get("before", ""))
        words = self._readings(pair)
        filler = self.expand(self.rng.choice(fillers))
        after = self.expand(pair["after"])
        lower = pair.get("lower", False) or self.rng.random() < LOWER_SHARE
        group = "ambiguous" if any(reading in self.entities for reading in words) else "homograph"
        mark = Mark(group, sum(map(len, lead)) + len(before), distance)
        texts = []
        for reading, ending in pair["readings"].items():
            sentence = [*before, words[reading], *filler, *self.expand(ending), *after]
            sentences = [_finish(tokens, lower=lower) for tokens in [*lead, sentence]]
            texts.append(Text(pair["name"], sentences, "NEUTRAL", mark))
        _check_pair(texts)
        return texts

    def expand(self, template: str) -> list[Token]:
        """Replace every slot of a template, and the slots within that, by tokens."""
        return [t for piece in template.split() for t in self._resolve(piece, template)()]

    def _resolve(self, piece: str, template: str) -> Callable[[], list[Token]]:
        """What draws the tokens for one piece of a template. Raises a ValueError if the grammar and
        the lexicon do not know the piece.
        """
        name, _, tag = piece.strip("{}").partition(":")
        if not piece.startswith("{"):
            literal = self._literal(piece, template)
            return lambda: [literal]
        if name in self.phrases and not tag:
            return lambda: self.expand(self.rng.choice(self.phrases[name]))
        if name in self.entities and not tag:
            return lambda: _mark_entity(self.expand(self.rng.choice(self.entities[name])), name)
        if name in self.names and not tag:
            return lambda: [self._name(self.rng.choice(self.names[name]))]
        if name in self.names and tag in self.entities:
            return lambda: _mark_entity([self._name(self.rng.choice(self.names[name]))], tag)
        if name in self.forms and tag in self.forms[name]:
            return lambda: [self._word(name, self.rng.choice(self.rows[name]), tag)]
        raise ValueError(
            f"Unknown slot '{piece}' in the template '{template}': expected a phrase or an entity "
            f"of the grammar, a name of the lexicon, a name with a label as in {{name:LABEL}}, or "
            f"a class with a tag of its paradigm as in {{class:TAG}}"
        )

    def _literal(self, piece: str, template: str) -> Token:
        """The one token of the lexicon for form, form/TAG or form/POS."""
        form, _, qualifier = piece.partition("/")
        tokens = [
            token
            for token in self.literals
            if token.text == form and qualifier in ("", token.tag, token.pos)
        ]
        if len(tokens) != 1:
            raise ValueError(
                f"The word '{piece}' in the template '{template}' has {len(tokens)} entries among "
                f"the literals of the lexicon: expected one"
            )
        return tokens[0]

    def _readings(self, pair: dict[str, Any]) -> dict[str, Token]:
        """Draw the ambiguous word of a pair, as one token for each of its readings. An entity has a
        capital letter, so a common noun must get one too, at the start, or the text is "lower".
        """
        word = pair["word"]
        if word not in self.rows and word not in self.names:
            raise ValueError(
                f"Unknown word '{word}' in the pair '{pair['name']}': expected a class or a name "
                f"of the lexicon"
            )
        row = self.rng.choice(self.rows[word] if word in self.rows else self.names[word])
        tokens = {}
        for reading in pair["readings"]:
            if reading in self.entities:
                tokens[reading] = replace(self._name(row.capitalize()), iob=f"B-{reading}")
            elif reading in self.forms.get(word, {}):
                tokens[reading] = self._word(word, row, reading)
            else:
                raise ValueError(
                    f"Unknown reading '{reading}' of '{word}' in the pair '{pair['name']}': "
                    f"expected an entity of the grammar or a tag that the word has"
                )
        return tokens

    def _word(self, name: str, row: str, tag: str) -> Token:
        """The form of a word for a tag; the first form in a row is the lemma."""
        forms = row.split()
        return self._token(forms[self.forms[name][tag]], tag, forms[0])

    def _name(self, name: str) -> Token:
        return self._token(name, "NNP", name)

    def _token(
        self, text: str, tag: str, lemma: str, pos: Optional[str] = None, morph: str = ""
    ) -> Token:
        """A token with the part of speech and the features of its tag, unless they are given."""
        if pos is None:
            pos, morph = self.tags[tag]
        return Token(text, tag, pos, morph, lemma)

    def _lead(self) -> list[list[Token]]:
        """A sentence to come first, or more often none."""
        if self.rng.random() >= LEAD_SHARE:
            return []
        return [self.expand(self.rng.choice(self.rng.choice(self.leads)["texts"]))]

    def _fillers(self, name: str, *, length: int) -> list[str]:
        return [filler for filler in self.fillers[name] if len(filler.split()) == length]

    def _templates(self) -> Iterator[str]:
        """All templates that the split may use."""
        yield from chain.from_iterable(self.entities.values())
        yield from chain.from_iterable(self.phrases.values())
        yield from chain.from_iterable(self.fillers.values())
        yield from chain.from_iterable(single["texts"] for single in self.singles)
        for pair in chain.from_iterable(self.pairs.values()):
            yield from [pair.get("before", ""), pair["after"], *pair["readings"].values()]


def _rows(words: Union[list[str], dict[str, list[str]]], *, split: str) -> list[str]:
    """The words of a class for a split. A row has the forms of a word, separated by blanks."""
    return words[split] if isinstance(words, dict) else words


def _names(parts: list[list[str]], *, split: str) -> list[str]:
    """The names that can be put together and belong to the split. A checksum deals them out, so a
    name goes to the same split whatever other names there are.
    """
    names = ["".join(combination).capitalize() for combination in product(*parts)]
    return [name for name in names if SPLITS[zlib.crc32(name.encode()) % len(SPLITS)] == split]


def _mark_entity(tokens: list[Token], label: str) -> list[Token]:
    first, *rest = tokens
    return [
        replace(first, iob=f"B-{label}"),
        *(replace(token, iob=f"I-{label}") for token in rest),
    ]


def _finish(sentence: list[Token], *, lower: bool) -> list[Token]:
    """Write "an" for "a" where it is due, and capital letters at the start or nowhere."""
    texts = [token.text for token in sentence]
    for i, (token, following) in enumerate(zip(sentence, texts[1:], strict=False)):
        if token.lemma == "a" and following[0].lower() in "aeiou":
            texts[i] = "an"
    first = 1 if sentence[0].tag == "``" else 0
    texts[first] = texts[first][0].upper() + texts[first][1:]
    return [
        replace(token, text=text.lower() if lower else text)
        for token, text in zip(sentence, texts, strict=True)
    ]


def _check_pair(texts: list[Text]) -> None:
    """Raise a ValueError unless the texts part exactly where the cue is said to be."""
    mark = texts[0].mark
    columns = zip(*([token.text for token in text.tokens] for text in texts), strict=False)
    apart = next((i for i, column in enumerate(columns) if len(set(column)) > 1), None)
    if apart != mark.index + mark.distance:
        raise ValueError(
            f"The texts of the pair '{texts[0].name}' part at token {apart}, expected "
            f"{mark.index} + {mark.distance}: {[_key(text) for text in texts]}"
        )


def _key(text: Text) -> str:
    return " ".join(token.text for token in text.tokens)


def make_corpus(
    grammar: dict[str, Any], lexicon: dict[str, Any], *, sizes: dict[str, int], seed: int
) -> dict[str, list[Text]]:
    """Draw the texts of every split; no text comes twice in the corpus. The kinds of pairs and the
    distances take turns, and the texts of a pair stay side by side.

    grammar (dict[str, Any]): What grammar.yml holds; the file describes it.
    lexicon (dict[str, Any]): What lexicon.yml holds.
    sizes (dict[str, int]): The number of texts for each split.
    seed (int): The same seed gives the same corpus.
    RETURNS (dict[str, list[Text]]): The texts of each split.
    """
    corpus = {}
    seen: set[str] = set()
    for split, size in sizes.items():
        writer = Writer(grammar, lexicon, split=split, seed=seed)
        turns = islice(cycle(product(DISTANCES, grammar["pairs"])), int(size * PAIR_SHARE) // 2)
        draws = [partial(writer.draw_pair, kind, distance) for distance, kind in turns]
        draws += [writer.draw_single] * (size - 2 * len(draws))
        writer.rng.shuffle(draws)
        corpus[split] = [text for draw in draws for text in _draw_new(draw, seen)]
    return corpus


def _draw_new(draw: Callable[[], list[Text]], seen: set[str]) -> list[Text]:
    """Draw until what comes has not been seen, and take it down as seen."""
    for _ in range(MAX_DRAWS):
        texts = draw()
        keys = {_key(text) for text in texts}
        if not keys & seen:
            seen |= keys
            return texts
    raise ValueError(f"No new text in {MAX_DRAWS} draws: ask for fewer, or extend the data files")


def to_doc(text: Text, vocab: Vocab) -> Doc:
    """The spaCy document of a text, with all its annotation."""
    tokens = text.tokens
    spaces = [
        token.tag != "``" and following.tag not in CLINGING and following.text != "n't"
        for token, following in zip(tokens, tokens[1:], strict=False)
    ]
    doc = Doc(
        vocab,
        words=[token.text for token in tokens],
        spaces=[*spaces, False],
        tags=[token.tag for token in tokens],
        pos=[token.pos for token in tokens],
        morphs=[token.morph for token in tokens],
        lemmas=[token.lemma for token in tokens],
        ents=[token.iob for token in tokens],
        sent_starts=[i == 0 for sentence in text.sentences for i in range(len(sentence))],
    )
    doc.spans["sc"] = list(doc.ents)  # for spaCy's span categorizer
    doc.cats = {sentiment: float(sentiment == text.sentiment) for sentiment in SENTIMENTS}
    if text.mark is not None:
        start, label = text.mark.index, str(text.mark.distance)
        doc.spans[text.mark.group] = [Span(doc, start, start + 1, label=label)]
    return doc


def main(
    out_dir: Annotated[Path, typer.Argument(help="Folder to write to", file_okay=False)],
    seed: Annotated[int, typer.Option(help="The same seed gives the same corpus")] = 0,
    train: Annotated[int, typer.Option(min=0, help="Number of texts to train on")] = 2500,
    dev: Annotated[int, typer.Option(min=0, help="Number of texts to choose a model on")] = 400,
    test: Annotated[int, typer.Option(min=0, help="Number of texts to evaluate on")] = 600,
    grammar: Annotated[
        Path, typer.Option(help="Sentences", exists=True, dir_okay=False)
    ] = SAMPLE_DIR / "grammar.yml",
    lexicon: Annotated[
        Path, typer.Option(help="Words and names", exists=True, dir_okay=False)
    ] = SAMPLE_DIR / "lexicon.yml",
) -> None:
    """Write the sample corpus: train.spacy, dev.spacy, test.spacy, and test.txt with the texts of
    the test part, one a line.
    """
    corpus = make_corpus(
        srsly.read_yaml(grammar),
        srsly.read_yaml(lexicon),
        sizes={"train": train, "dev": dev, "test": test},
        seed=seed,
    )
    vocab = spacy.blank("en").vocab
    out_dir.mkdir(parents=True, exist_ok=True)
    for split, texts in corpus.items():
        docs = [to_doc(text, vocab) for text in texts]
        DocBin(docs=docs, store_user_data=False).to_disk(out_dir / f"{split}.spacy")
        marked = sum(text.mark is not None for text in texts)
        msg.good(f"{split}: {len(docs)} texts, {marked} with an ambiguous word")
        if split == "test":
            lines = "".join(f"{doc.text}\n" for doc in docs)
            (out_dir / "test.txt").write_text(lines, encoding="utf8", newline="\n")


if __name__ == "__main__":
    typer.run(main)
