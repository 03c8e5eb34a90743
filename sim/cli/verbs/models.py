"""`servecast models`."""

from sim.cli.app import app
from sim.cli.terminal import console, plain_table


@app.command()
def models() -> None:
    """List the built-in models.

    \b
    servecast models
    """
    from sim.models import builtin_names, load

    table = plain_table("model", "parameters", "layers", "KV heads", "longest context", "bf16 weights")
    for name in builtin_names():
        model = load(name)
        table.add_row(
            name,
            f"{model.num_parameters / 1e9:.2f} B",
            str(model.layers),
            str(model.kv_heads),
            f"{model.max_position:,}",
            f"{model.weight_bytes() / 2**30:.1f} GiB",
        )
    console().print(table)
