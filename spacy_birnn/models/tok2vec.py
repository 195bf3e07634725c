"""Embedding and encoding in one."""

from typing import Optional

from spacy.ml.models.tok2vec import build_Tok2Vec_model

from ..checks import check_positive, check_rate, check_recurrent
from .chars import build_char_rnn
from .embed import build_word_char_embed
from .encoder import build_birnn_encoder
from .prediction import as_vectors, with_graph
from .types import DocsToVectors


def build_birnn_tok2vec(
    *,
    width: int = 200,
    depth: int = 1,
    cell: str = "lstm",
    direction: str = "both",
    merge: str = "concat",
    stack: str = "interleaved",
    dropout: Optional[float] = 0.5,
    locked_dropout: Optional[float] = 0.5,
    embed_width: int = 100,
    embed_rows: int = 20000,
    word_dropout: float = 0.3,
    char_width: Optional[int] = 50,
    train_vectors: bool = False,
    affixes: bool = False,
    spelling_dropout: float = 0.0,
) -> DocsToVectors:
    """A character + word bidirectional RNN: `spacy-birnn.WordCharEmbed.v1` with
    `spacy-birnn.CharRNN.v1`, read by `spacy-birnn.BiRNNEncoder.v1`, with one flat set of options.
    For more choice, put these into the slots of `spacy.Tok2Vec.v2`.

    width (int): Width of the output, even. Recommended: 64 to 300.
    depth (int): Number of recurrent layers. Recommended: 1 to 3.
    cell (str): "rnn", "gru", "lstm", "peephole_lstm" or "grid_lstm".
    direction (str): "both", "forward" or "backward".
    merge (str): How the two directions become one vector: "concat", "sum", "mean" or "mul".
    stack (str): "interleaved": a layer reads both directions of the one below. "independent": each
        direction has a stack of its own, as a language model needs.
    dropout (Optional[float]): Dropout between layers. null follows [training] dropout.
    locked_dropout (Optional[float]): Dropout on the encoder's input and output, with one mask for a
        whole document. null follows [training] dropout. Recommended: 0.2 to 0.5.
    embed_width (int): Width of a word's own vector. Recommended: 50 to 200.
    embed_rows (int): Rows of the table of words, one for each word of the training data.
        Recommended: 5000 to 50000.
    word_dropout (float): Share of distinct words whose own vector is hidden in a training step.
        Recommended: 0.1 to 0.5.
    char_width (Optional[int]): Width of the vector made from a word's characters, even. null reads
        no characters. Recommended: 32 to 128.
    train_vectors (bool): Whether static vectors are trained on, see `spacy-birnn.WordCharEmbed.v1`.
    affixes (bool): Whether more affixes are read, see `spacy-birnn.WordCharEmbed.v1`.
        Recommended: true for entities, as `birnn_ner` sets it; false for categories.
    spelling_dropout (float): Share of distinct words whose affixes and shape are hidden in a
        training step. Recommended: 0.2 with `affixes`, as `birnn_ner` sets it, else 0.
    RAISES (ValueError): E001, E002, E003 for impossible settings.
    """
    where = "spacy-birnn.BiRNNTok2Vec.v1"
    check_positive("width", width, where=where)
    check_recurrent(
        where=where,
        depth=depth,
        cell=cell,
        direction=direction,
        merge=merge,
        stack=stack,
        dropout=dropout,
        locked_dropout=locked_dropout,
    )
    check_positive("embed_rows", embed_rows, where=where)
    check_positive("embed_width", embed_width, where=where)
    check_rate("word_dropout", word_dropout, where=where)
    check_rate("spelling_dropout", spelling_dropout, where=where)
    if char_width is not None:
        check_positive("char_width", char_width, where=where, even=True)
    layer = build_Tok2Vec_model(
        embed=build_word_char_embed(
            width=embed_width,
            rows=embed_rows,
            word_dropout=word_dropout,
            train_vectors=train_vectors,
            affixes=affixes,
            spelling_dropout=spelling_dropout,
            chars=None
            if char_width is None
            else build_char_rnn(width=char_width, cell=cell, dropout=dropout),
        ),
        encode=build_birnn_encoder(
            width=width,
            depth=depth,
            cell=cell,
            direction=direction,
            merge=merge,
            stack=stack if depth > 1 else "interleaved",
            # With one layer it is for the characters alone
            dropout=dropout if depth > 1 else None,
            locked_dropout=locked_dropout,
        ),
    )
    model = with_graph(layer, as_vectors)
    for name in layer.ref_names:
        model.set_ref(name, layer.get_ref(name))
    return model
