"""The plan: what ships is what planning makes; coarse before fine; a fifth is held out."""

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from calibrate.gpu.errors import MeasureError
from calibrate.gpu.planfile import DEFAULT, Plan, PlanPoint, parse_plan, read_plan
from calibrate.planning import Scope, default_plan, make_plan, row_bytes, write_plan
from sim import models
from sim.errors import ModelError
from sim.latency.points import COLUMNS
from sim.models.operations import sample_operations, token_operations


@pytest.fixture(scope="module")
def shipped() -> Plan:
    return read_plan(DEFAULT)


def test_the_shipped_plan_is_what_planning_makes() -> None:
    """If this fails because a model was added: python -m calibrate.planning."""
    assert json.loads(gzip.decompress(DEFAULT.read_bytes())) == json.loads(json.dumps(default_plan()))


def curves(plan: Plan) -> dict[tuple[object, ...], list[PlanPoint]]:
    found: dict[tuple[object, ...], list[PlanPoint]] = defaultdict(list)
    for point in plan.points:
        found[(point.op, *(point.shape.get(name) for name in COLUMNS[point.op].key))].append(point)
    return found


def test_a_fifth_is_held_out_but_no_end_of_a_curve(shipped: Plan) -> None:
    share = sum(point.held_out for point in shipped.points) / len(shipped.points)
    assert share == pytest.approx(0.2, abs=0.01)
    for key, points in curves(shipped).items():
        axes = COLUMNS[points[0].op].axes
        fitted = [tuple(point.number(axis) for axis in axes) for point in points if not point.held_out]
        for point in points:
            place = tuple(point.number(axis) for axis in axes)
            for axis, value in enumerate(place):
                column = [other[axis] for other in fitted]
                assert min(column) <= value <= max(column), (key, place)


def test_every_operation_of_every_model_has_its_curve(shipped: Plan) -> None:
    """At each way of splitting that the model takes, in bf16; element-wise ops within the bytes that are measured."""
    known = curves(shipped)
    for name in models.builtin_names():
        model = models.load(name)
        for tp in (1, 2, 4, 8):
            try:
                model.check_tp(tp)
            except ModelError:
                continue
            for operation in (*token_operations(model, 1, tp), *sample_operations(model, 1, tp)):
                if operation.kind == "gemm":
                    assert ("gemm", "bf16", operation.n, operation.k) in known, (name, tp, operation.name)
                elif operation.kind == "elementwise":
                    sizes = [point.number("bytes") for point in known[operation.name,]]
                    rows = 512 if operation.name == "sampling" else 16384
                    assert min(sizes) <= operation.n and rows * operation.n <= max(sizes) * 1.01, (name, operation.name)


def test_bytes_of_a_row_are_those_of_the_simulator() -> None:
    model = models.load("mixtral-8x7b")
    details = {
        "embedding": {"width": 4096}, "norm": {"width": 4096}, "kv_write": {"kv_heads": 8, "head_dim": 128},
        "rotary": {"heads": 32, "kv_heads": 8, "head_dim": 128}, "sampling": {"width": 32000},
        "top_k": {"experts": 8, "picks": 2}, "experts_activation": {"width": 14336, "picks": 2},
        "experts_sum": {"width": 4096, "picks": 2},
    }  # fmt: skip
    found = {}
    for operation in (*token_operations(model, 1), *sample_operations(model, 1)):
        if operation.kind == "elementwise":
            found[operation.name] = operation.n
    assert {op: row_bytes(op, detail) for op, detail in details.items()} == found


def test_what_matters_most_is_measured_first(shipped: Plan) -> None:
    turns = [point.turn for point in shipped.points]
    assert turns == sorted(turns)

    def last(points: Iterator[int]) -> int:
        return max(points)

    def of(n: int, k: int, level: int) -> Iterator[int]:
        """Places in the order of a matrix product's points of one level."""
        for number, point in enumerate(shipped.points):
            if point.op == "gemm" and (point.shape["n"], point.shape["k"], point.level) == (n, k, level):
                yield number

    llama, mixtral_router = (6144, 4096), (8, 4096)
    assert last(of(*llama, 0)) < min(of(*mixtral_router, 0)) < min(of(*llama, 3))
    # All that one GPU needs for Llama 3.1 8B, but its finest points, is in the first eighth of the plan.
    assert last(of(*llama, 2)) < len(shipped.points) / 8
    assert {point.op for point in shipped.points if point.level == 0} == {point.op for point in shipped.points}


def test_a_plan_of_one_model_is_small_and_the_same_each_time(tmp_path: Path) -> None:
    scope = Scope(tensor_parallel=(1,), max_tokens=64, max_batch=8, max_context_tokens=512, generic=False)
    model = models.load("qwen2.5-7b")
    for name in ("a.json.gz", "b.json"):
        write_plan(make_plan([model], scope), tmp_path / name)
    assert gzip.decompress((tmp_path / "a.json.gz").read_bytes()) == (tmp_path / "b.json").read_bytes()
    plan = read_plan(tmp_path / "a.json.gz")
    assert plan.models == ("qwen2.5-7b",)
    assert max(point.number("m") for point in plan.points if point.op == "gemm") == 64
    assert not [point for point in plan.points if point.op in ("all_reduce", "send_recv")]
    with pytest.raises(ModelError, match="none of the models can be split over 3 GPUs"):
        make_plan([model], Scope(tensor_parallel=(3,)))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"format": 9}, "no plan of format 1; make one with `servecast calibrate plan`"),
        ({"format": 1, "models": [], "curves": []}, "holds no point"),
        ({"format": 1, "models": [], "curves": [{"op": "gemm"}]}, "a curve of the plan is broken"),
        (
            {"format": 1, "models": [], "curves": [
                {"op": "gemm", "rank": 0, "fixed": {"dtype": "bf16", "n": "8", "k": 8}, "axes": ["m"], "how": [],
                 "points": [[1, 0, 0]]}]},
            "n is '8'",
        ),
    ],
)  # fmt: skip
def test_a_broken_plan_is_told(content: object, complaint: str) -> None:
    with pytest.raises(MeasureError, match=complaint) as error:
        parse_plan(content, "my.json")
    assert str(error.value).startswith("my.json: ")


def test_a_file_that_is_no_plan(tmp_path: Path) -> None:
    file = tmp_path / "plan.json.gz"
    with pytest.raises(MeasureError, match=r"plan.json.gz: not a readable plan"):
        read_plan(file)
    file.write_bytes(b"not gzip")
    with pytest.raises(MeasureError, match=r"plan.json.gz: not a readable plan"):
        read_plan(file)
