"""Results in each format say the same numbers."""

import csv
import io
import json
from typing import Any

import numpy as np
import orjson
import pytest
from safetensors.numpy import save

from api_schemas.results import MultiMetricResult, Result
from api_schemas.spec import JobSpec
from job_store.records import JobFacts, JobRecord, StoredResult
from service.results import formats
from service.results.formats import CSV, JSON, NPZ, encode
from tests.live_service import HandMade, spec

FACTS = JobFacts(9, 4, 1.0, "d", "s", "r")


def _record(**changes: Any) -> JobRecord:
    text = JobSpec.model_validate(spec(**changes)).model_dump_json().encode()
    return JobRecord(
        id="job_1", owner="local", status="succeeded", version=4, model="demo", priority="normal", spec_json=text,
        tags={}, facts_json=FACTS.to_json().encode(), created_ms=1000, started_ms=1500, finished_ms=3500, now_ms=4000,
        done=1, total=1, attempt=1, cached=False,
    )  # fmt: skip


def _stored(made: HandMade) -> StoredResult:
    return StoredResult(json.dumps(made.head).encode(), save(made.arrays))


def test_json_is_a_result_of_the_contract_with_nan_as_null() -> None:
    """The published model must accept what is sent."""
    body = encode(_stored(HandMade()), _record(), JSON)
    result = Result.model_validate_json(body)
    assert result.patched == [0.12345679, 0.25, None, 0.33333334]
    assert (result.timings.queued_s, result.timings.run_s) == (0.5, 2.0)
    assert result.job_id == "job_1"


def test_a_small_result_is_written_at_once_as_a_large_one_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways give the same bytes."""
    at_once = encode(_stored(HandMade()), _record(), JSON)
    monkeypatch.setattr(formats, "PIECE", 2)
    assert encode(_stored(HandMade()), _record(), JSON) == at_once


def test_decimals_round_json_and_csv() -> None:
    """The spec says how many digits the reader wants."""
    record = _record(output={"decimals": 3})
    assert orjson.loads(encode(_stored(HandMade()), record, JSON))["patched"] == [0.123, 0.25, None, 0.333]
    assert b"0.123," in encode(_stored(HandMade()), record, CSV)


def test_npz_has_all_bits_and_needs_no_pickle() -> None:
    """Analysis wants exact float32, and unpickling would run code."""
    with np.load(io.BytesIO(encode(_stored(HandMade()), _record(), NPZ)), allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["0/patched"], HandMade().arrays["0/patched"])
        assert json.loads(bytes(arrays["head"]))["axes"] == ["example"]


def test_csv_has_one_row_per_number_with_its_coordinates() -> None:
    """A spreadsheet or R reads it without our code."""
    rows = list(csv.DictReader(io.StringIO(encode(_stored(HandMade()), _record(), CSV).decode())))
    assert [row["example"] for row in rows] == ["0", "1", "2", "3"]
    assert rows[1]["patched"] == "0.25" and rows[1]["new"] == "0.125"
    assert rows[2]["patched"] == ""


def test_a_sweep_in_csv_spreads_the_one_mean_of_orig_over_all_cells() -> None:
    """Each row must stand alone."""
    made = HandMade()
    made.head["blocks"][0] |= {
        "axes": ["sender_layer", "sender_head"],
        "shape": [2, 3],
        "coordinates": {"sender_layer": [0, 5], "sender_head": [1, 2, 3]},
    }
    made.arrays = {
        "0/patched": np.arange(6, dtype=np.float32).reshape(2, 3),
        "0/orig": np.array(0.5, dtype=np.float32),
        "0/new": np.array(0.25, dtype=np.float32),
        "0/reachable": np.array([[True, True, True], [False, True, True]]),
    }
    rows = list(csv.DictReader(io.StringIO(encode(_stored(made), _record(), CSV).decode())))
    assert [(row["sender_layer"], row["sender_head"]) for row in rows][3] == ("5", "1")
    assert {row["orig"] for row in rows} == {"0.5"}
    assert rows[3]["reachable"] == "false"
    assert orjson.loads(encode(_stored(made), _record(), JSON))["orig"] == 0.5


def test_what_a_cell_has_once_stands_beside_each_of_its_examples() -> None:
    """With as many cells as examples, a cell's number must not be read as an example's."""
    made = HandMade()
    made.head["blocks"][0] |= {
        "axes": ["sender_layer", "example"],
        "shape": [2, 2],
        "coordinates": {"sender_layer": [0, 5], "example": [0, 1]},
    }
    made.arrays = {
        "0/patched": np.arange(4, dtype=np.float32).reshape(2, 2),
        "0/orig": np.array([0.5, 0.75], dtype=np.float32),
        "0/new": np.array([0.25, 0.25], dtype=np.float32),
        "0/effect_sem": np.array([0.125, 8], dtype=np.float32),
        "0/reachable": np.array([True, False]),
    }
    rows = list(csv.DictReader(io.StringIO(encode(_stored(made), _record(), CSV).decode())))
    assert [row["reachable"] for row in rows] == ["true", "true", "false", "false"]
    assert [row["effect_sem"] for row in rows] == ["0.125", "0.125", "8.0", "8.0"]
    assert [row["orig"] for row in rows] == ["0.5", "0.75"] * 2
    assert {row["title"] for row in rows} == {"attention end → IO minus end → S1, head 10.7"}


@pytest.mark.parametrize("count", [1, 2])
def test_a_list_of_metrics_answers_with_a_list_of_blocks_even_for_one(count: int) -> None:
    """The shape follows the spec, not the number of metrics."""
    made = HandMade()
    made.head["blocks"] = [dict(made.head["blocks"][0]) for _ in range(count)]
    made.arrays |= {f"1/{name}": made.arrays[f"0/{name}"] for name in ("patched", "orig", "new")} if count > 1 else {}
    metrics = [{"kind": "loss"}, {"kind": "kl"}][:count]
    body = encode(_stored(made), _record(metric=None, metrics=metrics), JSON)
    assert len(MultiMetricResult.model_validate_json(body).blocks) == count
