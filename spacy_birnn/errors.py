"""Every message the package raises or warns with: the value, what was expected, the way out."""

import warnings
from typing import Any


class BirnnError(ValueError):
    """What the package raises, with a message of `Errors`. Only a disk that cannot be written to
    (E016) is an OSError, as everywhere in Python."""

    @property
    def code(self) -> str:
        """The code that the message begins with, such as "E001"."""
        return str(self).removeprefix("[BIRNN-").partition("]")[0]


class ReportOnce:
    """A warning that is given the first time that there is reason for it, and then no more.

    message (str): One of `Warnings`.
    """

    def __init__(self, message: str):
        self.message = message
        self.given = False

    def __call__(self, **values: Any) -> None:
        if not self.given:
            self.given = True
            warnings.warn(self.message.format(**values), stacklevel=3)


class _WithCodes(type):
    """Prefixes each message with its code, so that users can search for it."""

    def __getattribute__(cls, code: str) -> str:
        text = super().__getattribute__(code)
        return text if code.startswith("__") else f"[BIRNN-{code}] {text}"


class Errors(metaclass=_WithCodes):
    # Settings of layers and architectures
    E001 = "'{name}' must be {expected}, but got {value!r} in '{where}'."
    E002 = (
        "merge = '{merge}' joins the forward and the backward state, but direction = "
        "'{direction}' has only one of them. Use merge = 'concat', or direction = 'both'."
    )
    E003 = (
        "width = {width} cannot be shared equally by two directions that are concatenated. Use "
        "an even width, or merge = 'sum'."
    )
    E004 = (
        "label_smoothing = {value} needs independent labels, but the model's output is 'crf'. Set "
        "label_smoothing = 0.0, or output = 'softmax' in [model]."
    )
    E005 = (
        "'{name}' needs a model that scores sequences of labels, but its model is '{found}'. Use "
        '@architectures = "spacy-birnn.SequenceTagger.v1" in its [model].'
    )
    E006 = (
        "label_smoothing = {value} of '{where}' gives the right one of {n} outcomes no more than "
        "each of the others. It must be less than {limit:.3g}; recommended: 0.0 to 0.2."
    )
    # Documents
    E007 = (
        "'{name}' needs a list of documents (Doc), but got {value:.60}. For a single document "
        "write [doc]."
    )
    # Weights
    E010 = "'{name}' has no weights yet. Call nlp.initialize() or load a trained pipeline."
    E011 = (
        "The saved weights of the layer '{name}' are damaged: {reason}. The file is truncated or "
        "was altered; copy it again or train again."
    )
    E012 = (
        "The saved weights of '{name}' do not fit: {reason}. The pipeline was trained "
        "with other settings; load it with the config.cfg that was saved beside it."
    )
    E013 = (
        "Can't load the model of '{name}': {reason}. The file is truncated, altered, belongs to "
        "another architecture, or was saved by another version of spacy-birnn. Copy it again, or "
        "train again."
    )
    E014 = (
        "The vocab's word vectors have {found} columns, but the model was trained with {expected}. "
        "Load the vectors that the pipeline was trained with, or train again."
    )
    E015 = (
        "The layer '{name}' cannot be initialized without a sample of its input, because its input "
        "width is unknown. Pass X to model.initialize()."
    )
    E016 = (
        "Can't save '{name}' to {path}: {reason}. Nothing that was there has been changed. Choose "
        "a directory that can be written to and has enough space."
    )
    E017 = (
        "The vector of '{word}' in the vocab's word vectors is not finite (NaN or infinite). Make "
        "the vectors again with `spacy init vectors`, from a file without such values."
    )
    E018 = (
        "The layer '{name}' was made for vectors of width {expected}, but gets some of width "
        "{found}. If they are those of a shared tok2vec, set width = {found} in the "
        "[model.tok2vec] block of each component that listens to it, and train again."
    )
    E019 = (
        "'{name}' cannot rehearse with a tok2vec that it shares: spaCy gives a shared one its "
        "gradient in update() only. Give '{name}' its own: nlp.replace_listeners('tok2vec', "
        "'{name}', ['model.tok2vec'])."
    )
    # Labels and annotation
    E020 = (
        "initialize() can't read the labels {value:.80} of '{name}'. Write them with `spacy init "
        "labels`, from a config that has '{name}': each kind of component has a form of its own."
    )
    E021 = (
        "The data has the label '{label}', which '{name}' does not have. It has: {labels}. "
        "Call initialize() on all the training data, or add_label('{label}') before training. In a "
        "config that takes '{name}' from a trained pipeline, leave out `source` to initialize it."
    )
    E022 = (
        "The scores of '{name}' are not finite (NaN or infinite). Usually the learning rate is too "
        "high: lower [training.optimizer] learn_rate, or set grad_clip."
    )
    E023 = "A label must be a non-empty string, but '{name}' got {value!r}."
    E024 = (
        "The model of '{name}' has {found} outputs, but {expected} are needed for its {n_labels} "
        "labels. If [model] sets nO, leave that out; otherwise the model and the settings come "
        "from different pipelines."
    )
    E025 = (
        "The span {text!r} has the label '{label}', which '{name}' does not have, so it can't say "
        "how probable it is. It has: {labels}. Give the span one of these: "
        "Span(doc, start, end, label=...)."
    )
    E026 = (
        "The span {text!r} is of another document than the one that '{name}' got, which begins "
        "{begin!r}. Make it of the same one: Span(doc, start, end, label=...)."
    )
    # Calibration
    E027 = (
        "threshold of '{name}' has the label '{label}', which is not one of its labels: {labels}. "
        "Correct its spelling, or leave it out."
    )
    E028 = (
        "Can't calibrate {names}: none of the {n} documents has annotation that it could be "
        "compared with. Use held-out documents with annotation, such as the development part."
    )
    E029 = (
        "Can't calibrate '{name}'. The components of the pipeline that can be calibrated: {able}. "
        "Correct its spelling, enable it if it is disabled, or leave it out of 'pipes'."
    )
    # Classification and attention
    E030 = (
        "width = {width} cannot be shared equally by {heads} heads of attention. Use a number of "
        "heads that divides the width, or attention_heads = 0 for none."
    )
    E031 = (
        "'{name}' needs a model that scores labels of documents, but its model is '{found}'. Use "
        '@architectures = "spacy-birnn.TextClassifier.v1" in its [model].'
    )
    E032 = (
        "pooling = 'last' reads the final states of two directions side by side, but the encoder "
        "has direction = '{direction}' and merge = '{merge}'. Use direction = 'both' and merge = "
        "'concat', or another pooling."
    )
    E033 = (
        "'{name}' is to keep attention weights (attention = true), but its model has pooling = "
        "'{pooling}', which has none. Use pooling = 'attention', or attention = false."
    )
    E034 = (
        "class_weights of '{name}' has the label '{label}', which is not one of its labels: "
        "{labels}. Correct its spelling, or leave it out."
    )
    E035 = (
        "'{name}' has exclusive classes, of which one is right, but all are marked as wrong in "
        "{value} of the document {text:.60}. Add a label for documents that none of the others "
        "fits, or use 'birnn_textcat_multilabel'."
    )
    E036 = (
        "'{name}' has exclusive classes, of which one is right, but {value} of the document "
        "{text:.60} marks more than one of its labels as right. Keep one of them, or use "
        "'birnn_textcat_multilabel'."
    )
    E037 = (
        "'{name}' learns from labels that are right (1.0) or wrong (0.0), but '{label}' has the "
        "value {value!r} in the document {text:.60}. Choose one of the two, or leave the label out "
        "where it is not known."
    )
    # Probabilities of spans
    E038 = (
        "'{name}' can't say how probable {value!r} is: it is no span. Give it a Span; "
        "doc.char_span() has none, but None, where the characters do not align with the tokens."
    )
    E039 = (
        "doc._.confidence takes a list with a number, or None, for each of the {n} entities of the "
        "document, but got {value!r}."
    )
    # Lemmas
    E040 = (
        "'{name}' found no lemma in the data that it is initialized with. Annotate lemmas "
        "(column 3 of CoNLL-U, Token.lemma_), or take the component out of the pipeline."
    )
    E041 = (
        "'{name}' needs a model that writes lemmas, but its model is '{found}'. Use "
        '@architectures = "spacy-birnn.Lemmatizer.v1" in its [model].'
    )
    E043 = (
        "The labels of '{name}' are the characters of lemmas, each a text of length 1, but "
        "initialize() got {value!r}. Write them anew with `spacy init labels`."
    )
    # Pretraining
    E050 = (
        "'spacy-birnn.PretrainBiLM.v1' needs a tok2vec that ends in 'spacy-birnn.BiRNNEncoder.v1', "
        "but got '{found}'. Any other encoder may see the word that is to be predicted. Use "
        "'spacy-birnn.BiRNNTok2Vec.v1', and name it by [pretraining] component and layer."
    )
    E051 = (
        "'spacy-birnn.PretrainBiLM.v1' needs an embedding that looks at each token alone, but in "
        "'{found}' a token's vector depends on its neighbours, which are to be predicted. Use "
        "'spacy-birnn.WordCharEmbed.v1' or 'spacy.MultiHashEmbed.v2'."
    )
    E052 = (
        "'spacy-birnn.PretrainBiLM.v1' needs vectors of which one half has seen only the words "
        "before and the other half only those after, but with direction = 'both', merge = "
        "{merge!r}, depth = {depth} and stack = {stack!r} the directions are mixed, and the word "
        "to predict can be seen. Use merge = 'concat' with depth = 1 or stack = 'independent', "
        "or one direction."
    )
    # Libraries
    E068 = (
        "ONNX Runtime {found} can't run the graph that this component predicts with: {reason}. "
        "Version {oldest} is the least that has all its operators: pip install "
        '"onnxruntime>={oldest}".'
    )
    E069 = (
        "'{name}' needs PyTorch here, which can't be imported: {reason}. Training needs it; "
        "predicting on a CPU does not, unless a layer can't be compiled. Install it with: pip "
        'install "spacy-birnn[train]".'
    )
    # Files of annotated texts
    E070 = "'{path}' is empty. Expected a file of annotated texts."
    E071 = (
        "'{path}' is not UTF-8: its line {line} has the byte {byte:#04x}. Save it as UTF-8, in "
        "Excel as 'CSV UTF-8', or with `iconv -f {encoding} -t UTF-8` if that is what it is."
    )
    E072 = (
        "Can't tell the format of '{path}' by its name and its first lines. Say it with --format, "
        "which is one of {formats}."
    )
    E073 = "{where}: found {found}, expected {expected}."
    E074 = "{where} can't be read: {reason}. Correct it, or leave it out."
    E075 = (
        "{where}: the span {start} to {end} is not in its text, which {reason}. Offsets count "
        "characters from 0, and the end is exclusive; some tools count bytes or UTF-16 units."
    )
    E076 = "{where} has no {name}. It has: {names}. Name the one to read with --{option}."
    E077 = (
        "{where}: there is no name for the label {value!r}. Say what the numbers stand for, in "
        "order from 0, with --names, such as --names O,B-PER,I-PER."
    )
    E078 = (
        "None of the {n} texts of '{path}' that could be used has an entity or a category. Export "
        "it with its annotation, or name the key or column that has it with --label."
    )
    E079 = (
        "{where}: {reason}. A field with a quotation mark must stand between quotation marks, with "
        "those inside doubled."
    )
    E080 = "Reading '{path}' needs pyarrow: pip install \"spacy-birnn[parquet]\"."
    E081 = (
        "The split leaves nothing for {part}: {n} documents with different texts are too few. "
        "Give it a larger share, or write one file (OUT.spacy)."
    )
    # Explanations
    E090 = (
        "Can't explain '{name}'. The components of the pipeline that can be explained: {able}. "
        "Correct its spelling, or leave it out of 'pipes'."
    )
    E091 = (
        "A text of {n} tokens can't be explained: each is hidden once, so there may be 1 to "
        "{limit}. Give one sentence, or a few."
    )
    E092 = (
        "Can't explain '{name}': when a word is hidden, the components before it make other tokens "
        "of the text ({found} instead of {n}). Take what merges or splits tokens out of the "
        "pipeline."
    )
    # Export
    E100 = (
        "'{name}' is a {found}, which can't be exported. These can: {able}. A lemmatizer can't, "
        "because it runs its network once for each character that it writes."
    )
    E101 = (
        "'{name}' reads the vectors of a shared tok2vec, so it can't be exported alone. Give it a "
        "copy before: nlp.replace_listeners('{tok2vec}', '{name}', ['model.tok2vec'])."
    )
    E102 = (
        "'{name}' can't be exported: its model has a layer '{node}', which can't be written as "
        "operators of ONNX. Train it with another architecture in its place, such as "
        "'spacy-birnn.BiRNNTok2Vec.v1'."
    )
    E103 = (
        "'{name}' can't be exported: its weights take {size}, and a file of ONNX holds at most "
        "2 GB. Train it with smaller tables (embed_rows, ngram_rows)."
    )


class Warnings(metaclass=_WithCodes):
    W001 = (
        "Entities in the data of '{name}' do not align with the tokens of the pipeline{share}, for "
        "instance {example!r}; their tokens are treated as missing annotation. Check the character "
        "offsets and the tokenizer. This is reported once."
    )
    W002 = (
        "'{name}' does not rehearse: what it would have to remember are whole lemmas, not scores "
        "of labels. Train it on old and new data together."
    )
    W003 = (
        "'{name}' cannot learn the lemma '{lemma}' of '{form}': '{char}' is not in the form, nor "
        "among the characters that it was initialized with. Such lemmas are left out. Call "
        "initialize() on all the training data. This is reported once."
    )
    W004 = (
        "The data has the label '{label}', which '{name}' does not have and so does not learn. It "
        "has: {labels}. If the label is not another component's, call initialize() on all the "
        "training data, or add_label('{label}') before training. This is reported once."
    )
    W005 = (
        "'spacy-birnn.PretrainBiLM.v1' has nothing to learn from in a batch of {n} texts: none has "
        "two tokens, so no word has a neighbour to predict. Check the raw texts, and set "
        "min_length = 2 in the [corpora] block of their reader. This is reported once."
    )
    W006 = (
        "'{name}' was calibrated on very little: {n} predictions in {n_docs} annotated documents. "
        "What was fitted may not hold for other texts. Use more held-out documents, some hundreds "
        "if there are as many."
    )
    W007 = (
        "'{name}' is right in {share:.1%} of the documents that it is calibrated on, and not sure "
        "enough of it (temperature {temperature:.2f}). If it was trained on them, this fits "
        "nothing: its probabilities will be too high for new texts. Use held-out documents."
    )
    W008 = (
        "The annotation has labels that '{name}' does not have: {labels}. "
        "It has: {known}. What it predicts there counts as wrong. If these are other names for "
        "its labels, correct the documents."
    )
    W009 = (
        "Entities in the data of '{name}' begin or end with white space{share}, for instance "
        "{example!r}. An entity is never found with it, so it is left out of them. Correct the "
        "annotation, or their scores suffer. This is reported once."
    )
    W010 = (
        "Entities in the data of '{name}' cannot be found as they are annotated{share}, for "
        "instance {example!r}: an entity does not cross the start of a sentence, and with scheme = "
        "'BIO' it has no white space inside. Their tokens are treated as missing annotation. Check "
        "the annotation and what sets the sentences, or use scheme = 'BILUO'. This is reported "
        "once."
    )
    W011 = (
        "There is another extension 'confidence' of {kinds}, which '{name}' leaves alone. Read the "
        "confidence of an entity with spacy_birnn.pipeline.confidence.get_confidence(ent), or "
        "remove the other extension before the component is made."
    )
    W012 = (
        "'{name}' does not have the label '{label}', so it does not learn from the tokens that "
        "have it. Call initialize() on all the training data, or add_label('{label}') before "
        "training. This is reported once."
    )
    W013 = (
        "{name} = {value!r} of '{where}' has no effect, because depth = 1: there is nothing "
        "between layers. Set depth = 2 or more, or leave it out."
    )
    W014 = (
        "'{name}' keeps the attention weights of a document in doc._.birnn_attention, but there is "
        "another extension of that name, which gets them. Give that one another name."
    )
    W015 = (
        "Can't write the page of training to '{path}': {reason}. Training goes on without it. Name "
        "another file with path in [training.logger]. This is reported once."
    )
