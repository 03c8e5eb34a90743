"""`servecast engines`."""

from typing import Any

from sim.cli import completing
from sim.cli.catalogue import catalogue
from sim.cli.terminal import console, plain_table, print_json


def _list(format: str) -> None:
    from sim import preset
    from sim.report.engines import COSTS, DECISIONS, SHOWN_FOR, costs, decisions

    if format == "json":
        print_json([_as_json(name) for name in preset.names()])
        return
    for title, columns, row in (("decisions", DECISIONS, decisions), ("memory and host time", COSTS, costs)):
        table = plain_table(*columns)
        table.title, table.columns[0].no_wrap = title, True
        for known in preset.names():
            table.add_row(*row(preset.load(known)))
        console().print(table)
    print(f"Limits as on {SHOWN_FOR}; * assumed, not measured. servecast engines NAME tells every source.")


def _show(name: str, format: str) -> None:
    from sim import preset

    one = preset.load(name)
    if format == "json":
        print_json(_as_json(name))
        return
    table = plain_table("key", "value", "from", "source")
    for key, default in one.engine.items():
        table.add_row(key, str(default.value), default.origin, default.source)
    console().print(one.stands_for)
    console().print(table)


def _as_json(name: str) -> dict[str, Any]:
    from sim import preset

    one = preset.load(name)
    return {
        "name": one.name,
        "stands_for": one.stands_for,
        "engine": {key: default.model_dump(by_alias=True) for key, default in one.engine.items()},
        "by_gpu_memory": [rule.model_dump() for rule in one.by_gpu_memory],
    }


catalogue("engines", "the engine presets", "sglang", _list, _show, completing.presets)
