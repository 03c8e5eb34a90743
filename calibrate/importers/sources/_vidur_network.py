"""Vidur's collectives: network/NAME/all_reduce.csv and send_recv.csv, milliseconds over bytes of one rank."""

from pathlib import Path

import numpy as np

from calibrate.importers.collection import Collection
from calibrate.importers.foreign import counts, numbers, one_of, read_table


def read_network(folder: Path, gpu: str | None, chosen: str | None, out: Collection) -> None:
    """Add the collectives of one network under `folder`, if there are any.

    A network is the folder that holds the tables; of several, `chosen` says which (those named after another GPU
    do not count). Raises ProfileError if it is not there, or if there are several and none was chosen.
    """
    tables = [file for name in ("all_reduce", "send_recv") for file in sorted(folder.rglob(f"{name}.csv"))]
    names = {file.parent.name for file in tables}
    if gpu is not None and chosen is None:
        names = {name for name in names if name.startswith(gpu)}
    network = one_of(names, chosen, "network", "--network", folder)
    for file in tables:
        if file.parent.name == network:
            _read(file, out)


def _read(file: Path, out: Collection) -> None:
    op = file.stem
    column = f"time_stats.{op}.median"
    frame = read_table(file, (column, "num_workers", "size", "devices_per_node"), "Vidur")
    out.opened(file)
    ranks, inside = counts(frame, file, "num_workers"), counts(frame, file, "devices_per_node")
    size = counts(frame, file, "size").astype(np.float64)
    times = numbers(frame, file, column) * 1e-3
    one_node = (inside == ranks) & (ranks > 1)
    out.skip(file.name, "over several nodes", int((~one_node).sum()))
    for count in sorted(set(ranks[one_node].tolist())):
        rows = one_node & (ranks == count)
        key = (op, str(count)) if op == "all_reduce" else (op,)
        out.add(key, size[rows][:, None], times[rows], op, file)
