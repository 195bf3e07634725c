"""`birnn info`: what a pipeline is made of, layer by layer, and how large it is."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Iterator, Optional

import typer

from ._app import Json, command, load_pipeline, print_json, print_table, read_config, warn

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.training import Example

# The widths, and the width of the input, of the table in textbooks
WIDTHS = (1, 2, 8, 64)
INPUT_WIDTH = 3
FORMULAS = {
    "rnn": "nh + h² + h",
    "gru": "3(nh + h² + h)",
    "lstm": "4(nh + h² + h)",
    "peephole_lstm": "4(nh + h² + h) + 3h",
    "grid_lstm": "8(nh + h² + h) + nh",
}


@command("info", example="info training/model-best")
def info_cli(
    model: Annotated[
        Optional[str],
        typer.Argument(metavar="MODEL|CONFIG", help="Pipeline (a directory or a package) or .cfg"),
    ] = None,
    formula: Annotated[
        bool,
        typer.Option(
            "--formula", help="Print the textbook's table of parameters for widths 1, 2, 8 and 64"
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the layers of a pipeline: the shapes of their weights, the number of parameters, memory
    and share. For recurrent layers, how the number follows from the widths: n of the input, h of
    the state of one direction; and what predicts without PyTorch. Of a config, what is known before
    there is data."""
    if model is None and not formula:
        raise typer.BadParameter("name one, or ask for --formula", param_hint="MODEL|CONFIG")
    report: dict[str, Any] = {}
    if model is not None:
        is_config = Path(model).suffix == ".cfg"
        if is_config:
            report = describe_config(Path(model))
        else:
            nlp = load_pipeline(model)
            report = {**describe(nlp), "graphs": graphs(nlp)}
    if formula:
        report["formula"] = formula_table()
    if as_json:
        print_json(report)
        return
    if model is not None:
        _print_layers(report)
    if formula:
        _print_formula(report["formula"])


def describe(nlp: "Language") -> dict[str, Any]:
    """What a pipeline is made of.

    RETURNS (dict[str, Any]): "layers", each with its component, name, shapes by the name of the
        weight, number of parameters, bytes, those of them that are trained, and share of all bytes
        (null where they are not known yet); for a recurrent layer "cell", "formula" (text),
        "formula_parameters" and "second_bias" too. "vectors": the shape and bytes of the word
        vectors, which are not trained. "parameters" and "bytes": the sums, without vectors.
        "training_bytes": with gradients and the optimizer's state. "unknown": what is not in the
        sums.
    """
    layers: list[dict[str, Any]] = []
    unknown: list[str] = []
    seen: set[int] = set()
    for component, pipe in _with_models(nlp):
        for node in pipe.model.walk(order="dfs_post"):
            # A layer may be in several components
            if node.id in seen:
                continue
            seen.add(node.id)
            layers += [{"component": component, **layer} for layer in _layers(node)]
            missing = [name for name in node.param_names if not node.has_param(name)]
            if missing or not all(getattr(shim, "has_weights", True) for shim in node.shims):
                unknown.append(f"{component}: {node.name}")
    vectors = nlp.vocab.vectors
    found = {"shape": list(vectors.shape), "bytes": int(vectors.data.nbytes)}
    return _summed(nlp, layers, found if vectors.size else None, unknown)


def graphs(nlp: "Language") -> dict[str, list[str]]:
    """The components that predict through a compiled graph, each with the layers that are outside
    of it because they have no converter."""
    from ..models.prediction import outside_graphs

    found = {name: outside_graphs(pipe.model) for name, pipe in _with_models(nlp)}
    return {name: outside for name, outside in found.items() if outside is not None}


def _with_models(nlp: "Language") -> Iterator[tuple[str, Any]]:
    for name, pipe in nlp.pipeline:
        if hasattr(getattr(pipe, "model", None), "walk"):
            yield name, pipe


def describe_config(path: Path) -> dict[str, Any]:
    """What the pipeline of a config will be made of, so far as that does not depend on data. It is
    built with data made up for it, twice, with more labels the second time: sizes that differ then
    are null, and "unknown" says which. The vectors that the config names are loaded.

    path (Path): The config.
    RETURNS (dict[str, Any]): As `describe`.
    """
    config = read_config(path, {}, interpolate=False)
    nlp, failed = _built(config, 2)
    report = describe(nlp)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        larger = describe(_built(config, 3)[0])
    unknown = report["unknown"] + failed
    for layer, other in zip(report["layers"], larger["layers"]):
        if layer["shapes"] == other["shapes"]:
            continue
        layer["shapes"] = {
            name: [n if n == m else None for n, m in zip(shape, other["shapes"][name])]
            for name, shape in layer["shapes"].items()
        }
        layer["parameters"] = layer["bytes"] = layer["trained_bytes"] = None
        unknown.append(f"{layer['component']}: {layer['name']} (it depends on the labels)")
    return _summed(nlp, report["layers"], report["vectors"], unknown)


def _built(config: Any, n_labels: int) -> tuple["Language", list[str]]:
    """The pipeline of a config, initialized with made-up data, and what could not be."""
    from spacy.training.initialize import load_vectors_into_model
    from spacy.util import get_sourced_components, load_model_from_config

    nlp = load_model_from_config(config, auto_fill=True)
    failed = []
    vectors = nlp.config.interpolate()["initialize"]["vectors"]
    if vectors is not None:
        try:
            load_vectors_into_model(nlp, vectors)
        except (ValueError, OSError) as error:
            warn(f"Without the vectors '{vectors}': {error}")
            failed.append(f"vectors: {vectors}")
    examples = [_made_up(nlp, n_labels) for _ in range(2)]
    sourced = get_sourced_components(config)
    for name, pipe in nlp.pipeline:
        if name not in sourced and hasattr(pipe, "initialize"):
            try:
                pipe.initialize(lambda: examples, nlp=nlp)
            except Exception as error:  # whatever a component says of data that suits another
                if getattr(error, "code", "") == "E069":  # no data would do without torch
                    raise
                failed.append(f"{name}: it needs data ({error})")
    return nlp, failed


def _made_up(nlp: "Language", n: int) -> "Example":
    """A document with everything that a component may learn, and n labels of each kind."""
    from spacy.tokens import Doc
    from spacy.training import Example

    words = [chr(ord("a") + i) for i in range(n)]
    annotation = {
        "tags": [f"T{i}" for i in range(n)],
        "pos": ["NOUN"] * n,
        "morphs": [f"Case={word.upper()}" for word in words],
        "lemmas": words,
        "heads": [0] * n,
        "deps": ["ROOT", *(f"dep{i}" for i in range(1, n))],
        "sent_starts": [True] + [False] * (n - 1),
        "entities": [f"U-E{i}" for i in range(n)],
        "cats": {f"C{i}": float(i == 0) for i in range(n)},
        "spans": {"sc": [(2 * i, 2 * i + 1, f"S{i}") for i in range(n)]},
    }
    return Example.from_dict(Doc(nlp.vocab, words=words), annotation)


def _layers(node: Any) -> Iterator[dict[str, Any]]:
    """The weights of a Thinc layer, and those of each layer of a torch module in it."""
    weights = {name: node.get_param(name) for name in node.param_names if node.has_param(name)}
    if weights:
        yield {"name": node.name, **_sizes(weights)}
    for shim in node.shims:
        layers: dict[str, dict[str, Any]] = {}
        for name, array in sorted(_module_weights(shim).items()):
            path, _, own = name.rpartition(".")
            layers.setdefault(path, {})[own] = array
        for path, weights in layers.items():
            name = f"{node.name}.{path}" if path else node.name
            yield {"name": name, **_sizes(weights), **_recurrent(shim, weights)}


def _module_weights(shim: Any) -> dict[str, Any]:
    """The weights of a torch module by their names. Ours may be known without torch."""
    from ..models.torch_wrapper import TorchShim

    if isinstance(shim, TorchShim):
        return shim.weights if shim.has_weights else {}
    module: Any = getattr(shim, "_model", None)
    parameters = module.named_parameters() if hasattr(module, "named_parameters") else ()
    return {name: weight.detach().cpu().numpy() for name, weight in parameters}


def _sizes(weights: dict[str, Any]) -> dict[str, Any]:
    """Parameters are what training moves, of a float type; the rest is bookkeeping."""
    floats = [array for array in weights.values() if array.dtype.kind == "f"]
    return {
        "shapes": {name: list(array.shape) for name, array in weights.items()},
        "parameters": sum(int(array.size) for array in floats),
        "bytes": sum(int(array.nbytes) for array in weights.values()),
        "trained_bytes": sum(int(array.nbytes) for array in floats),
    }


def _recurrent(shim: Any, weights: dict[str, Any]) -> dict[str, Any]:
    """Of a recurrent layer (`layers.recurrent`), what its number of parameters should be."""
    if not {"W", "U", "b"} <= set(weights):
        return {}
    cell = shim.cfg["cell"]
    directions, n, _ = weights["W"].shape
    h = weights["U"].shape[1]
    lowest = "M" in weights or cell != "grid_lstm"
    formula = FORMULAS[cell] if lowest else FORMULAS[cell].removesuffix(" + nh")
    return {
        "cell": cell,
        "formula": f"{directions} × ({formula}), n = {n}, h = {h}",
        "formula_parameters": directions * cell_parameters(cell, n, h, lowest=lowest),
        "second_bias": directions * second_bias(cell, h),
    }


def cell_parameters(cell: str, n: int, h: int, *, lowest: bool = True) -> int:
    """The number of parameters of one direction of a recurrent layer, by the textbook: each gate
    has weights for the input (n h) and the state before (h^2), and a bias (h).

    cell (str): "rnn" (1 gate), "gru" (3), "lstm" (4), "peephole_lstm" (4, and 3 h peepholes) or
        "grid_lstm" (two blocks of 4, and n h in the lowest layer, see `GridLSTMLayer`).
    n (int): Width of the input.
    h (int): Width of the state.
    lowest (bool): Whether it is the lowest layer of a stack, for "grid_lstm".
    """
    peepholes = 3 * h if cell == "peephole_lstm" else 0
    first_memory = n * h if cell == "grid_lstm" and lowest else 0
    return _gates(cell) * (n * h + h * h + h) + peepholes + first_memory


def second_bias(cell: str, h: int) -> int:
    """What PyTorch's own modules would add for each direction: they have two biases, for the input
    and for the state, which are only ever used as their sum (but in a GRU's candidate)."""
    return _gates(cell) * h


def _gates(cell: str) -> int:
    return {"rnn": 1, "gru": 3, "lstm": 4, "peephole_lstm": 4, "grid_lstm": 8}[cell]


def formula_table() -> list[dict[str, Any]]:
    """The numbers of parameters of all cells for the widths 1, 2, 8 and 64 and inputs of width 3,
    for one direction and for both, as textbooks have them for "rnn"."""
    return [
        {
            "cell": cell,
            "formula": formula,
            "width": h,
            "one_direction": cell_parameters(cell, INPUT_WIDTH, h),
            "both_directions": 2 * cell_parameters(cell, INPUT_WIDTH, h),
            "output_width": 2 * h,
            "second_bias": 2 * second_bias(cell, h),
        }
        for cell, formula in FORMULAS.items()
        for h in WIDTHS
    ]


def _summed(
    nlp: "Language",
    layers: list[dict[str, Any]],
    vectors: Optional[dict[str, Any]],
    unknown: list[str],
) -> dict[str, Any]:
    def total(key: str) -> int:
        return sum(layer[key] or 0 for layer in layers)

    optimizer = nlp.config["training"]["optimizer"]
    # Weights, gradients, Adam's two moments
    copies = 5 if optimizer.get("use_averages") else 4
    every = total("bytes")
    for layer in layers:
        layer["share"] = layer["bytes"] / every if layer["bytes"] is not None and every else None
    return {
        "layers": layers,
        "vectors": vectors,
        "parameters": total("parameters"),
        "bytes": every,
        "training_bytes": every + (copies - 1) * total("trained_bytes"),
        "unknown": unknown,
    }


def _print_layers(report: dict[str, Any]) -> None:
    by_component: dict[str, list] = {}
    for layer in report["layers"]:
        by_component.setdefault(layer["component"], []).append(layer)
    header = ("Layer", "Weights", "Parameters", "Memory", "Share")
    for component, layers in by_component.items():
        rows = [
            (layer["name"], _shapes(layer["shapes"]), _number(layer["parameters"]))
            + (_size(layer["bytes"]), _percent(layer["share"]))
            for layer in layers
        ]
        sums = [sum(layer[key] or 0 for layer in layers) for key in ("parameters", "bytes")]
        share = sum(layer["share"] or 0.0 for layer in layers)
        rows.append(("all", "", _number(sums[0]), _size(sums[1]), _percent(share)))
        print_table(component, header, rows)
    rows = [
        (f"{layer['component']}: {layer['name']}", layer["cell"], layer["formula"])
        + (_number(layer["formula_parameters"]), _number(layer["second_bias"]))
        for layer in report["layers"]
        if "formula" in layer
    ]
    header = ("Layer", "Cell", "Textbook", "Parameters", "PyTorch's second bias")
    print_table("Recurrent layers", header, rows)
    print(f"\nParameters: {_number(report['parameters'])}")
    print(f"Memory of the weights: {_size(report['bytes'])}")
    print(f"In training, with gradients and the optimizer: {_size(report['training_bytes'])}")
    print("Not in it: the activations of the documents that are read at the same time")
    if report["vectors"] is not None:
        rows_, width = report["vectors"]["shape"]
        size = _size(report["vectors"]["bytes"])
        print(f"Word vectors: {_number(rows_)} of width {width}, {size}, not trained")
    for component, outside in report.get("graphs", {}).items():
        rest = f"; as before: {', '.join(outside)}" if outside else ""
        print(f"Predicts through ONNX Runtime: {component}{rest}")
    for what in report["unknown"]:
        print(f"Not known until data is seen: {what}")


def _print_formula(rows: list[dict[str, Any]]) -> None:
    keys = ("one_direction", "both_directions", "output_width", "second_bias")
    shown = [
        (row["cell"], row["formula"], row["width"], *(_number(row[key]) for key in keys))
        for row in rows
    ]
    names = ("Parameters", "Both", "Output width", "PyTorch's second biases add")
    title = f"Parameters of one recurrent layer, inputs of width n = {INPUT_WIDTH}"
    print_table(title, ("Cell", "One direction", "h", *names), shown)


def _shapes(shapes: dict[str, list]) -> str:
    return ", ".join(
        f"{name} {'×'.join('?' if n is None else str(n) for n in shape)}"
        for name, shape in shapes.items()
    )


def _number(value: Optional[int]) -> str:
    return "?" if value is None else f"{value:,}"


def _percent(value: Optional[float]) -> str:
    return "?" if value is None else f"{value:.1%}"


def _size(n_bytes: Optional[int]) -> str:
    if n_bytes is None:
        return "?"
    value, units = float(n_bytes), iter(("B", "KB", "MB", "GB", "TB"))
    unit = next(units)
    while value >= 1000:
        value, unit = value / 1000, next(units)
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
