"""`servecast models`."""

from typing import TYPE_CHECKING, Any

from sim.cli import completing
from sim.cli.catalogue import catalogue
from sim.cli.terminal import console, plain_table, print_json

if TYPE_CHECKING:
    from sim.models import Model


def _list(format: str) -> None:
    from sim.models import builtin_names, load

    models = [load(name) for name in builtin_names()]
    if format == "json":
        print_json([_facts(model) for model in models])
        return
    table = plain_table("model", "parameters", "layers", "KV heads", "longest context", "bf16 weights")
    for model in models:
        table.add_row(
            model.name,
            f"{model.num_parameters / 1e9:.2f} B",
            str(model.layers),
            str(model.kv_heads),
            f"{model.max_position:,}",
            f"{model.weight_bytes() / 2**30:.1f} GiB",
        )
    console().print(table)


def _show(name: str, format: str) -> None:
    from sim.models import load

    facts = _facts(load(name))
    if format == "json":
        print_json(facts)
        return
    table = plain_table("fact", "value")
    for fact, value in facts.items():
        if value:
            text = "; ".join(value) if isinstance(value, list) else f"{value:,}" if type(value) is int else str(value)
            table.add_row(fact.replace("_", " "), text)
    console().print(table)


def _facts(model: "Model") -> dict[str, Any]:
    """What the config.json says, then what follows from it."""
    from dataclasses import asdict

    not_said = ("notes", "experts_spread", "embeds", "samples")
    return {name: value for name, value in asdict(model).items() if name not in not_said} | {
        "parameters": model.num_parameters,
        "active_parameters": model.num_active_parameters,
        "bf16_weight_bytes": model.weight_bytes(),
        "bf16_kv_bytes_per_token": model.kv_bytes_per_token(),
        "notes": list(model.notes),
    }


catalogue("models", "the built-in models", "llama-3.1-8b", _list, _show, completing.models)
