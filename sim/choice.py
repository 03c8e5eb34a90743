"""A folder of small dataclasses becomes a YAML choice: module names are the names, fields the parameters.

`router: Annotated[Any, Choice("sim.routing")] = "round_robin"` accepts `round_robin`, `{round_robin: null}`,
`{random: {stream: 2}}`, `"my_pkg.mine:Mine"`, `{"my_pkg.mine:Mine": {...}}` or an instance, and always yields
an instance; where there is an option `fixed` of one parameter, a bare number is its value. It dumps back to
`{name: {every parameter}}`. Config of the enclosing class needs
`validate_default=True`, so that a default given by name becomes an instance as well.

A module `least_outstanding.py` offers its public frozen dataclass `LeastOutstanding` (or one whose name
begins so, `LeastOutstandingRouter`); a module without one, or with a leading underscore, offers nothing.
"""

import dataclasses
import difflib
import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from functools import cache
from types import ModuleType
from typing import Any

from pydantic import ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema
from typing_extensions import TypedDict

from sim.errors import ScenarioError
from sim.fielddocs import describe
from sim.wording import sentence

_OWN_CODE = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
_FIXED = "fixed"
_MOST_GUESSES = 8
_OTHER_WORDS = {
    "deterministic": ("constant", "fixed"),
    "const": ("constant", "fixed"),
    "constant": ("fixed",),
    "fixed": ("constant",),
    "exponential": ("poisson",),
    "burst": ("all_at_once", "on_off"),
    "fifo": ("fcfs",),
    "lifo": ("last_come",),
    "sjf": ("shortest_job",),
    "edf": ("earliest_deadline",),
    "lpm": ("longest_prefix_match",),
    "vtc": ("virtual_token_counter",),
    "rr": ("round_robin",),
    "jsq": ("least_outstanding",),
    "least_loaded": ("least_outstanding",),
    "least_connections": ("least_outstanding",),
    "least_request": ("least_outstanding",),
    "p2c": ("power_of_two",),
    "hash": ("consistent_hash",),
    "sticky": ("session_affinity",),
    "continuous": ("vllm_v1", "orca"),
    "chunked": ("sarathi",),
}
"""What else options of scenarios are called; only for hints."""
_in_schema: ContextVar[tuple[str, ...]] = ContextVar("_in_schema", default=())


@dataclasses.dataclass(frozen=True)
class Choice:
    """Annotation for a field that holds one option of the folder `package` (for example "sim.routing")."""

    package: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(self._dump, info_arg=True),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Every built-in by name and by its parameters, and the form of the user's own code."""
        outer = _in_schema.get()
        if self.package in outer:  # an option that holds a choice of its own kind
            return {"type": ["string", "object"]}
        token = _in_schema.set((*outer, self.package))
        try:
            forms: list[dict[str, Any]] = []
            for name, cls in options(self.package).items():
                parameters: dict[str, Any] = handler(_adapter(name, cls).core_schema)
                parameters = handler.resolve_ref_schema(parameters)["properties"][name]
                shape = handler.resolve_ref_schema(parameters)
                shape.setdefault("additionalProperties", False)
                describe(shape, cls)
                if not _required(cls):
                    forms.append({"const": name})
                    parameters = {"anyOf": [parameters, {"type": "null"}]}
                forms.append(_one_key(name, parameters))
            if field := _number_of(self.package):
                forms.append({"type": "number", "description": f"the same as {{{_FIXED}: {{{field}: ...}}}}"})
            forms.append({"type": "string", "pattern": _OWN_CODE, "description": "own code, module:Class"})
            own = {"type": "object", "patternProperties": {_OWN_CODE: {"type": ["object", "null"]}}}
            forms.append({**own, "additionalProperties": False, "minProperties": 1, "maxProperties": 1})
            return {"anyOf": forms}
        finally:
            _in_schema.reset(token)

    def _validate(self, value: Any) -> Any:
        name, parameters = _split(self.package, value)
        cls: Any = type(value) if _is_instance(value) else _find(self.package, name)
        known = [f.name for f in dataclasses.fields(cls) if f.init]
        unknown = [key for key in parameters if key not in known]
        if unknown:
            raise ValidationError.from_exception_data(
                name, [_unknown_parameter(name, key, parameters[key], known) for key in unknown]
            )
        instance = _adapter(name, cls).validate_python({name: parameters})[name]
        for key, given in parameters.items():
            if isinstance(given, bool) and not isinstance(getattr(instance, key), bool):
                raise _error(f"{name}.{key}: true and false are not meant here")
        return instance

    def _dump(self, value: Any, info: Any) -> dict[str, Any]:
        instance = self._validate(value)
        cls: Any = type(instance)
        name = _name_in(self.package, cls)
        dumped: dict[str, Any] = _adapter(name, cls).dump_python({name: instance}, mode=info.mode)
        return dumped


def build(package: str, value: Any) -> Any:
    """The instance that `value` (a name, a one-key mapping or an instance) stands for in `package`.

    Raises ScenarioError, in one sentence, for an unknown name or parameter or a value out of range.
    """
    try:
        return Choice(package)._validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ScenarioError(sentence(where, first["type"], first["msg"], first["input"])) from error
    except PydanticCustomError as error:
        raise ScenarioError(error.message()) from error


def name_of(instance: Any) -> str:
    """The name a scenario uses for `instance`: its module's, or "module:Class" for code outside `sim`."""
    package = type(instance).__module__.rpartition(".")[0]
    return _name_in(package if package.split(".")[0] == "sim" else "", type(instance))


def options(package: str) -> dict[str, type]:
    """Every built-in option of `package`, by name, in alphabetical order; imports all of its modules."""
    found = ((name, _offered(importlib.import_module(f"{package}.{name}"))) for name in _module_names(package))
    return {name: cls for name, cls in found if cls is not None}


def nearest(word: str, known: Iterable[str]) -> str:
    """A closing remark for an error: "; did you mean 'x'?" or "; known: a, b, c".

    Meant are names that are the word but for capitals and hyphens, else those that begin with it, else those that hold
    it, else another word for it (`_OTHER_WORDS`), else the one that is spelt most alike.
    """
    known = list(known)
    asked = _bare(word)
    bare = {_bare(name): name for name in known}
    guesses = (
        [asked] if asked in bare else [],
        [name for name in bare if name.startswith(asked)] if len(asked) > 1 else [],
        [name for name in bare if asked in name] if len(asked) > 2 else [],
        [name for name in _OTHER_WORDS.get(asked, ()) if name in bare],
        difflib.get_close_matches(asked, bare, n=1, cutoff=0.6),
    )
    *others, last = [repr(bare[name]) for name in next(filter(None, guesses), ())] or [""]
    if last and len(others) < _MOST_GUESSES:
        return f"; did you mean {', '.join(others)} or {last}?" if others else f"; did you mean {last}?"
    return f"; known: {', '.join(known)}" if known else "; it takes none"


def _bare(word: str) -> str:
    return str(word).lower().replace("-", "_")


def _split(package: str, value: Any) -> tuple[str, Mapping[str, Any]]:
    """What was written, as (name, parameters)."""
    if isinstance(value, str):
        return value, {}
    if isinstance(value, int | float) and not isinstance(value, bool) and (field := _number_of(package)):
        return _FIXED, {field: value}
    if _is_instance(value):
        parameters = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        return _name_in(package, type(value)), parameters
    if isinstance(value, Mapping) and len(value) == 1:
        (name, parameters), *_ = value.items()
        if isinstance(name, str) and (parameters is None or isinstance(parameters, Mapping)):
            return name, parameters or {}
        raise _error(f"write the parameters of {name!r} as a mapping, {{{name}: {{parameter: value}}}}")
    names = ", ".join(options(package))
    raise _error(f"write one name, or one name with its parameters, {{name: {{parameter: value}}}}; known: {names}")


def _number_of(package: str) -> str | None:
    """The parameter of the package's `fixed` that a bare number stands for: `1000` is `{fixed: {tokens: 1000}}`."""
    if _FIXED not in _module_names(package):
        return None
    needed = _required(_find(package, _FIXED))
    return needed[0] if len(needed) == 1 else None


def _find(package: str, name: str) -> type:
    if ":" in name:
        return _own(name)
    if name in _module_names(package):
        cls = _offered(importlib.import_module(f"{package}.{name}"))
        if cls is not None:
            return cls
    raise _error(f"there is no {name!r} here{nearest(name, options(package))}")


def _own(name: str) -> type:
    """The user's own dataclass, "module:Class"."""
    module_name, _, class_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise _error(f"cannot import {name!r} ({error}); is its folder on PYTHONPATH?") from error
    cls = getattr(module, class_name, None)
    if cls is None:
        raise _error(f"module {module_name!r} has no {class_name!r}{nearest(class_name, vars(module))}")
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise _error(f"{name!r} is not a dataclass; decorate it with @dataclass(frozen=True)")
    return cls


@cache
def _module_names(package: str) -> tuple[str, ...]:
    path = importlib.import_module(package).__path__
    return tuple(sorted(m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_")))


def _offered(module: ModuleType) -> type | None:
    """The dataclass that stands for a module: the one named after it."""
    wanted = module.__name__.rpartition(".")[2].replace("_", "").lower()
    begin_so = [
        cls
        for name, cls in vars(module).items()
        if isinstance(cls, type)
        and cls.__module__ == module.__name__
        and not name.startswith("_")
        and dataclasses.is_dataclass(cls)
        and cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
        and cls.__name__.lower().startswith(wanted)
    ]
    exact = [cls for cls in begin_so if cls.__name__.lower() == wanted]
    if len(exact) == 1:
        return exact[0]
    return begin_so[0] if len(begin_so) == 1 else None


def _name_in(package: str, cls: type) -> str:
    home, _, module = cls.__module__.rpartition(".")
    return module if home == package else f"{cls.__module__}:{cls.__qualname__}"


@cache
def _adapter(name: str, cls: type) -> TypeAdapter[dict[str, Any]]:
    """Validates and dumps {name: parameters}; the name is a key so that it stands in the path of an error."""
    make: Any = TypedDict
    wrapper = make("wrapper", {name: cls})
    wrapper.__pydantic_config__ = ConfigDict(extra="forbid", validate_default=True)
    return TypeAdapter(wrapper)


def _required(cls: type) -> list[str]:
    fields = [f for f in dataclasses.fields(cls) if f.init]
    missing = dataclasses.MISSING
    return [f.name for f in fields if f.default is missing and f.default_factory is missing]


def _one_key(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    shape = {"type": "object", "properties": {name: parameters}, "required": [name]}
    return {**shape, "additionalProperties": False}


def _is_instance(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _unknown_parameter(name: str, key: Any, value: Any, known: list[str]) -> InitErrorDetails:
    error = _error(f"{name} has no parameter {str(key)!r}{nearest(key, known)}")
    return InitErrorDetails(type=error, loc=(name, str(key)), input=value)


def _error(message: str) -> PydanticCustomError:
    return PydanticCustomError("choice", "{text}", {"text": message})  # text as data: it may hold braces
