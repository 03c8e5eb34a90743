"""A folder of dataclasses as a YAML choice: names, paths of errors, round trips, schema."""

import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from sim import choice
from sim.choice import Choice
from sim.errors import ScenarioError

POISSON = """
from dataclasses import dataclass
from typing import Annotated
from pydantic import Field
from sim.quantity import Seconds

@dataclass(frozen=True)
class Poisson:
    rate_per_s: Annotated[float, Field(gt=0)]
    start_s: Seconds = 0.0
"""
BURSTS = """
from __future__ import annotations
from dataclasses import dataclass
from typing import Annotated, Any
from sim.choice import Choice

@dataclass(frozen=True, slots=True)
class BurstsArrivals:
    inside: Annotated[Any, Choice("shop.arrivals")] = "constant"

@dataclass
class BurstsState:
    not_frozen: int = 0
"""
CONSTANT = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Helper:
    pass

@dataclass(frozen=True)
class Constant:
    gap_s: float = 1.0

    def __post_init__(self) -> None:
        if self.gap_s == 13:
            raise ValueError("13 is unlucky")
"""
MINE = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Mine:
    lucky: int = 7

class Plain:
    pass
"""


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
    arrivals: Annotated[Any, Choice("shop.arrivals")] = "constant"


class Outer(BaseModel):
    workload: Inner = Inner.model_construct()


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package `shop.arrivals` with three options and a module of no option, and a user's own `mine`."""
    folder = tmp_path / "shop" / "arrivals"
    folder.mkdir(parents=True)
    files = {
        "poisson": POISSON,
        "bursts": BURSTS,
        "constant": CONSTANT,
        "shared": "X = 1",
        "_hidden": CONSTANT,
    }
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "__init__.py").touch()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    choice._module_names.cache_clear()
    choice._adapter.cache_clear()
    for name in [m for m in sys.modules if m.split(".")[0] in ("shop", "mine")]:
        del sys.modules[name]


def parse(value: Any) -> Any:
    return Outer.model_validate({"workload": {"arrivals": value}}).workload.arrivals


def errors(value: Any) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        parse(value)
    return [(".".join(map(str, e["loc"])), e["msg"]) for e in caught.value.errors()]


def test_every_way_of_writing_an_option() -> None:
    constant = parse("constant")
    assert (type(constant).__name__, constant.gap_s) == ("Constant", 1.0)
    assert parse({"constant": None}) == parse({"constant": {}}) == parse(constant) == constant
    assert parse({"poisson": {"rate_per_s": 2, "start_s": "50ms"}}).start_s == 0.05
    assert parse("mine:Mine").lucky == 7
    assert parse({"mine:Mine": {"lucky": 8}}).lucky == 8
    assert Outer.model_validate({"workload": {}}).workload.arrivals == constant


def test_only_the_dataclass_named_after_its_module_is_an_option() -> None:
    assert list(choice.options("shop.arrivals")) == ["bursts", "constant", "poisson"]


def test_an_instance_is_checked_like_yaml() -> None:
    poisson = choice.options("shop.arrivals")["poisson"]
    assert parse(poisson(rate_per_s="3")).rate_per_s == 3.0
    assert errors(poisson(rate_per_s=-1)) == [
        ("workload.arrivals.poisson.rate_per_s", "Input should be greater than 0")
    ]


@pytest.mark.parametrize(
    ("value", "path", "words"),
    [
        ("poison", "workload.arrivals", "did you mean 'poisson'?"),
        ("zzz", "workload.arrivals", "known: bursts, constant, poisson"),
        ("_hidden", "workload.arrivals", "there is no '_hidden'"),
        ("shared", "workload.arrivals", "there is no 'shared'"),
        ("poisson", "workload.arrivals.poisson.rate_per_s", "Field required"),
        ({"poisson": {"rate_per_s": 0}}, "workload.arrivals.poisson.rate_per_s", "greater than 0"),
        ({"constant": {"gap": 2}}, "workload.arrivals.constant.gap", "did you mean 'gap_s'?"),
        ({"constant": {"gap_s": 13}}, "workload.arrivals.constant", "13 is unlucky"),
        ({"bursts": {"inside": {"poisson": {"rate_per_s": "x"}}}},
         "workload.arrivals.bursts.inside.poisson.rate_per_s", "valid number"),
        ({"constant": 3}, "workload.arrivals", "as a mapping"),
        ({"constant": {}, "poisson": {}}, "workload.arrivals", "one name"),
        ({}, "workload.arrivals", "one name"),
        (7, "workload.arrivals", "one name"),
        (None, "workload.arrivals", "one name"),
        ("no_such_module:Mine", "workload.arrivals", "cannot import"),
        ("mine:Nope", "workload.arrivals", "has no 'Nope'"),
        ("mine:Plain", "workload.arrivals", "not a dataclass"),
    ],
)  # fmt: skip
def test_errors_name_the_whole_path_and_the_mend(value: Any, path: str, words: str) -> None:
    [(where, message)] = errors(value)
    assert where == path
    assert words in message


def test_several_wrong_parameters_are_all_reported() -> None:
    found = errors({"poisson": {"rate": 1, "begin": 2}})
    assert [where.rpartition(".")[2] for where, _ in found] == ["rate", "begin"]


@pytest.mark.parametrize(
    "value",
    [
        "constant",
        {"poisson": {"rate_per_s": 2.5}},
        "mine:Mine",
        {"bursts": {"inside": {"poisson": {"rate_per_s": 1}}}},
    ],
)
def test_round_trips_keep_name_and_every_parameter(value: Any) -> None:
    outer = Outer.model_validate({"workload": {"arrivals": value}})
    dumped = outer.model_dump()
    assert Outer.model_validate(dumped) == outer
    assert Outer.model_validate_json(outer.model_dump_json()) == outer
    assert pickle.loads(pickle.dumps(outer)) == outer
    [(name, parameters)] = dumped["workload"]["arrivals"].items()
    assert name == (value if isinstance(value, str) else next(iter(value)))
    assert parameters


def test_a_default_given_by_name_keeps_its_name_when_dumped() -> None:
    assert Outer.model_validate({"workload": {}}).model_dump() == {
        "workload": {"arrivals": {"constant": {"gap_s": 1.0}}}
    }
    assert Outer.model_construct(workload=Inner.model_construct()).model_dump() == {
        "workload": {"arrivals": {"constant": {"gap_s": 1.0}}}
    }


def test_json_schema_lists_every_built_in_and_what_it_takes() -> None:
    schema = Inner.model_json_schema()
    forms = schema["properties"]["arrivals"]["anyOf"]
    assert [f["const"] for f in forms if "const" in f] == ["bursts", "constant"]  # poisson needs its rate
    by_name = {next(iter(f["properties"])): f for f in forms if "properties" in f}
    assert set(by_name) == {"bursts", "constant", "poisson"}
    assert by_name["poisson"]["properties"]["poisson"] == {"$ref": "#/$defs/Poisson"}
    assert schema["$defs"]["Poisson"]["required"] == ["rate_per_s"]
    assert schema["$defs"]["Poisson"]["additionalProperties"] is False
    json.dumps(schema)


def test_build_and_name_of_work_without_pydantic() -> None:
    built = choice.build("shop.arrivals", {"poisson": {"rate_per_s": 4}})
    assert built.rate_per_s == 4.0
    assert choice.name_of(built) == "shop.arrivals.poisson:Poisson"
    with pytest.raises(ScenarioError, match=r"did you mean 'poisson'\?"):
        choice.build("shop.arrivals", "poison")
    with pytest.raises(ScenarioError, match=r"poisson\.rate_per_s must be greater than 0, not 0"):
        choice.build("shop.arrivals", {"poisson": {"rate_per_s": 0}})
