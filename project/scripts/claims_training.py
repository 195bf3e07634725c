"""The small trainings behind claims.py. Each is a plain function of its settings and a seed, gives
numbers, and runs in a process of its own."""

import json
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import spacy
import srsly
import torch
from make_corpus import SAMPLE_DIR, Text, Token, Writer, make_corpus, to_doc
from spacy import registry
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.training.batchers import minibatch_by_words
from spacy.training.pretrain import make_update
from thinc.api import Adam, Model, fix_random_seed

from spacy_birnn.layers.birnn import BiRNN

SIZES = {"train": 2500, "test": 1000}
WIDTH = 64
# What the encoder reads: the word's own vector, that of its characters, and how it is written
EMBEDDED_WIDTH = 2 * WIDTH + 3 * 32
# Classes of the language model: few words share one
N_HASHES = 1000
NUMBERS = ("NN", "NNS")


@dataclass(frozen=True)
class Job:
    """One training or measurement.

    kind (str): Which of the functions in KINDS runs it.
    options (dict[str, Any]): What that function takes.
    seed (int): Seed of the weights and of the order of the texts.
    """

    kind: str
    options: dict[str, Any]
    seed: int

    @property
    def key(self) -> str:
        """The same for the same job."""
        return json.dumps([self.kind, self.options, self.seed], sort_keys=True)


def run(job: Job) -> dict[str, Any]:
    """Run one job. RETURNS (dict): What was measured, by name."""
    torch.set_num_threads(1)
    fix_random_seed(job.seed)
    return KINDS[job.kind](job.seed, **job.options)


@cache
def grammar_and_lexicon() -> tuple[dict[str, Any], dict[str, Any]]:
    """What the sample corpus is made from."""
    grammar, lexicon = (srsly.read_yaml(SAMPLE_DIR / f"{n}.yml") for n in ("grammar", "lexicon"))
    return grammar, lexicon


@cache
def corpus() -> dict[str, list[Text]]:
    """The sample corpus, always the same."""
    return make_corpus(*grammar_and_lexicon(), sizes=SIZES, seed=0)


def tok2vec(**changes: Any) -> dict[str, Any]:
    """A small tok2vec."""
    settings = {"width": WIDTH, "embed_width": WIDTH, "embed_rows": 2000, "char_width": WIDTH}
    settings |= {"dropout": None, "locked_dropout": None}
    return {"@architectures": "spacy-birnn.BiRNNTok2Vec.v1", **settings, **changes}


def embedded_by(chars: bool, words: bool) -> dict[str, Any]:
    """A small tok2vec that reads words whole, as characters, or both ways."""
    char_rnn = {"@architectures": "spacy-birnn.CharRNN.v1", "width": WIDTH}
    whole = {"@architectures": "spacy-birnn.WordCharEmbed.v1", "width": WIDTH, "rows": 2000}
    whole |= {"word_dropout": 0.3, "chars": char_rnn if chars else None}
    encode = {"@architectures": "spacy-birnn.BiRNNEncoder.v1", "width": WIDTH}
    embed = whole if words else char_rnn
    return {"@architectures": "spacy.Tok2Vec.v2", "embed": embed, "encode": encode}


def train(nlp: Language, examples: list[Example], *, steps: int, seed: int) -> float:
    """Train for a number of batches of 400 words. RETURNS (float): Seconds of CPU time."""
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.001
    random, batches = np.random.default_rng(seed), iter(())
    began = time.process_time()
    for _ in range(steps):
        batch = next(batches, None)
        if batch is None:
            order = [examples[i] for i in random.permutation(len(examples))]
            batches = minibatch_by_words(order, size=400)
            batch = next(batches)
        nlp.update(batch, sgd=optimizer, drop=0.2)
    return time.process_time() - began


def given_tokens(nlp: Language, texts: Iterable[Text]) -> list[Example]:
    """The texts with the tokens that they were made with."""
    golds = [to_doc(text, nlp.vocab) for text in texts]
    return [Example(Doc(nlp.vocab, words=[t.text for t in gold]), gold) for gold in golds]


def sense_examples(nlp: Language, texts: Iterable[Text]) -> list[Example]:
    """Each token's sense as its tag: the label of its entity, or else its tag."""
    examples = given_tokens(nlp, texts)
    for token in (token for eg in examples for token in eg.y):
        token.tag_ = token.ent_type_ or token.tag_
    return examples


def senses(
    seed: int,
    *,
    model: dict[str, Any] | None = None,
    changes: dict[str, Any] | None = None,
    n_train: int = SIZES["train"],
    steps: int = 800,
) -> dict[str, Any]:
    """Train a tagger of senses. RETURNS (dict): Its accuracy on all test tokens, on the ambiguous
    words at each distance of the cue, and on words that training did not have."""
    nlp = spacy.blank("en")
    model = {"tok2vec": model or tok2vec(**(changes or {})), "output": "softmax"}
    nlp.add_pipe("birnn_tagger", config={"model": model})
    texts = corpus()
    examples = sense_examples(nlp, texts["train"][:n_train])
    seconds = train(nlp, examples, steps=steps, seed=seed)
    known = {token.lower_ for eg in examples for token in eg.reference}
    hits: dict[str, list[bool]] = defaultdict(list)
    test = sense_examples(nlp, texts["test"])
    for doc, text, eg in zip(nlp.pipe([e.x for e in test]), texts["test"], test, strict=True):
        for i, (token, gold) in enumerate(zip(doc, eg.y, strict=True)):
            right = token.tag_ == gold.tag_
            hits["all"].append(right)
            if token.lower_ not in known:
                hits["unseen"].append(right)
            if text.mark is not None and i == text.mark.index:
                hits["ambiguous"].append(right)
                hits[f"distance {text.mark.distance}"].append(right)
    encoder = next(node for node in nlp.pipeline[0][1].model.walk() if node.name == "birnn_encoder")
    n_params = sum(param.numel() for param in torch_module(encoder).parameters())
    accuracy = {name: float(np.mean(found)) for name, found in hits.items()}
    return {**accuracy, "seconds": seconds, "parameters": n_params}


def torch_module(node: Model) -> torch.nn.Module:
    """The PyTorch module inside a layer."""
    return node.shims[0].module


def gradients(seed: int, *, cell: str, longest: int = 40) -> dict[str, Any]:
    """How much of a change of a word is left in the state some tokens on, with the weights that
    training begins with; peepholes, which begin at 0, are drawn at random to count at all.

    RETURNS (dict): For each distance the norm of the gradient of the last state with respect to the
        input that far back, as a share of that at distance 0.
    """
    birnn = BiRNN(WIDTH, WIDTH, cell=cell, direction="forward")
    for name, weights in birnn.named_parameters():
        if name.endswith(".P"):
            torch.nn.init.uniform_(weights, -(WIDTH**-0.5), WIDTH**-0.5)
    n_sequences, length = 16, longest + 1
    X = torch.randn(n_sequences * length, WIDTH, requires_grad=True)
    _, last = birnn(X, np.full(n_sequences, length))
    # A random projection of the state stands for what a loss could ask of it
    (last * torch.randn(last.shape)).sum().backward()
    norms = X.grad.view(n_sequences, length, WIDTH).norm(dim=2).mean(dim=0).flip(0)
    return {str(d): float(norm / norms[0]) for d, norm in enumerate(norms)}


def sentiments(seed: int, *, pooling: str, steps: int = 600) -> dict[str, Any]:
    """Train a text classifier. RETURNS (dict): Its accuracy on all opinions of the test part, and
    on each kind of construction."""
    nlp = spacy.blank("en")
    nlp.add_pipe("birnn_textcat", config={"model": {"tok2vec": tok2vec(), "pooling": pooling}})
    texts = corpus()
    train(nlp, given_tokens(nlp, texts["train"]), steps=steps, seed=seed)
    opinions = [text for text in texts["test"] if text.sentiment != "NEUTRAL"]
    hits: dict[str, list[bool]] = defaultdict(list)
    docs = nlp.pipe(eg.x for eg in given_tokens(nlp, opinions))
    for doc, text in zip(docs, opinions, strict=True):
        right = max(doc.cats, key=doc.cats.__getitem__) == text.sentiment
        hits["all"].append(right)
        hits[text.name.split("-")[0]].append(right)
    return {name: float(np.mean(found)) for name, found in hits.items()}


def lemmas(seed: int, *, attention: bool, steps: int = 400) -> dict[str, Any]:
    """Train an encoder-decoder to write lemmas. RETURNS (dict): Its accuracy on the words of the
    test part that training did not have, for words of 4 and 5 characters, of 6 and 7, and so on."""
    nlp = spacy.blank("en")
    # Only with attention could words be hallucinated: attention is to be the only difference
    model = {"attention": attention, "width": WIDTH, "hallucinate": 0.0}
    config = {"lookup": False, "threshold": 0.0, "model": model}
    nlp.add_pipe("birnn_lemmatizer", config=config)
    texts = corpus()
    examples = given_tokens(nlp, texts["train"])
    train(nlp, examples, steps=steps, seed=seed)
    known = {token.text for eg in examples for token in eg.reference}
    hits: dict[str, list[bool]] = defaultdict(list)
    test = given_tokens(nlp, texts["test"])
    for doc, eg in zip(nlp.pipe([e.x for e in test]), test, strict=True):
        for token, gold in zip(doc, eg.y, strict=True):
            if token.text not in known and len(token) > 3:
                start = len(token) // 2 * 2
                length = f"{start}-{start + 1}" if start < 10 else "10-"
                hits[length].append(token.lemma_ == gold.lemma_)
    return {name: float(np.mean(found)) for name, found in hits.items()}


# What may stand between a subject and its verb
BETWEEN = (
    "of the {thing:%s}",
    "on the {furniture:%s}",
    "in the {landmark:%s}",
    "of the {size:JJ} {settlement:%s}",
)


def agreement(seed: int, *, cell: str, steps: int = 400) -> dict[str, Any]:
    """Train a forward language model on sentences with up to two nouns between the subject and its
    verb, each of either number. RETURNS (dict): How often it finds the right number of the verb
    more probable than the other, by the number of nouns between, all of the other number."""
    vocab = spacy.blank("en").vocab
    writer = Writer(*grammar_and_lexicon(), split="train", seed=seed)
    random = writer.rng
    docs = []
    for _ in range(1500):
        numbers = [random.choice(NUMBERS) for _ in range(random.randint(1, 3))]
        docs.append(Doc(vocab, words=[t.text for t in agreeing_sentence(writer, *numbers)]))
    settings = tok2vec(direction="forward", cell=cell)
    objective = {"@architectures": "spacy-birnn.PretrainBiLM.v1", "rows": N_HASHES}
    built = registry.resolve({"tok2vec": settings, "objective": objective})
    built["tok2vec"].initialize(X=docs[:10])
    model = built["objective"](vocab, built["tok2vec"])
    model.initialize(X=docs[:10])
    optimizer = Adam(0.003)
    for _ in range(steps):
        batch = random.sample(docs, 40)
        make_update(model, batch, optimizer, objective_func=model.attrs["loss"])
    hits: dict[str, list[bool]] = defaultdict(list)
    for n_between in range(1, len(BETWEEN) + 1):
        for i in range(200):
            number, other = NUMBERS if i % 2 else NUMBERS[::-1]
            sentence = agreeing_sentence(writer, number, *[other] * n_between)
            place = next(i for i, token in enumerate(sentence) if token.tag in ("VBZ", "VBP"))
            doc = Doc(vocab, words=[token.text for token in sentence])
            scores = model.predict([doc])[place - 1]
            right, wrong = (
                scores[vocab.strings.add(form) % N_HASHES]
                for form in (sentence[place].text, other_number(sentence[place]))
            )
            hits[str(n_between)].append(bool(right > wrong))
    return {name: float(np.mean(found)) for name, found in hits.items()}


def agreeing_sentence(writer: Writer, subject: str, *between: str) -> list[Token]:
    """A sentence whose subject has a number (as the tag of a noun), as has each noun after it."""
    pieces = ["the {maker:%s}" % subject]
    pieces += [piece % number for piece, number in zip(BETWEEN, between, strict=False)]
    verb = {"NN": ("is", "{live:VBZ}"), "NNS": ("are", "{live:VBP}")}[subject]
    endings = (f"{verb[0]} {{state:JJ}} .", f"{verb[1]} in {{GPE}} .")
    return writer.expand(" ".join([*pieces, writer.rng.choice(endings)]))


def other_number(verb: Token) -> str:
    """The verb in the other number."""
    pairs = {"is": "are", "are": "is"}
    return pairs.get(verb.text) or (verb.lemma if verb.tag == "VBZ" else f"{verb.lemma}s")


def lengths(seed: int, *, n_tokens: int) -> dict[str, Any]:
    """Read one document. RETURNS (dict): Seconds of CPU time, the best of three, and the megabytes
    that the process had more at its peak than before."""
    nlp = spacy.blank("en")
    nlp.add_pipe("birnn_ner", config={"model": {"tok2vec": tok2vec()}})
    texts = [to_doc(text, nlp.vocab) for text in corpus()["test"]]
    nlp.initialize(lambda: [Example(Doc(nlp.vocab, words=[t.text for t in d]), d) for d in texts])
    words = [token.text for doc in texts for token in doc]
    words = (words * (n_tokens // len(words) + 1))[:n_tokens]
    ner = nlp.get_pipe("birnn_ner")
    ner.predict([Doc(nlp.vocab, words=words[:100])])
    doc = Doc(nlp.vocab, words=words)
    before, seconds = peak_memory(), []
    for _ in range(3):
        began = time.process_time()
        ner.predict([doc])
        seconds.append(time.process_time() - began)
    return {"seconds": min(seconds), "megabytes": peak_memory() - before}


def peak_memory() -> float:
    """The most memory that the process has held so far, in megabytes."""
    in_bytes = sys.platform == "darwin"  # elsewhere in kilobytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if in_bytes else 2**10)


KINDS: dict[str, Callable[..., dict[str, Any]]] = {
    "senses": senses,
    "gradients": gradients,
    "sentiments": sentiments,
    "lemmas": lemmas,
    "agreement": agreement,
    "lengths": lengths,
}
