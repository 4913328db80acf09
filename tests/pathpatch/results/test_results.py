"""Results: arrays, names, tables and files."""

import json
import re

import numpy as np
import pandas
import pytest

from pathpatch.results import NotOneMetric, Result
from pathpatch.results.cells import cell_name
from pathpatch.results.files import UnknownEnding, from_npz

SHARED = {
    "job_id": "job_1", "unreachable_senders": [], "checks": {"identity_max_abs": 0.0, "nonfinite": 1},
    "provenance": {"model": "demo"}, "timings": {"queued_s": 0.1, "run_s": 2.0}, "warnings": ["orig equals new"],
}  # fmt: skip
PER_EXAMPLE = SHARED | {
    "metric": {"kind": "logit_diff", "title": "logit IO minus S", "unit": "nats", "normalize": "none"},
    "axes": ["example"], "shape": [3],
    "coordinates": {"example": [0, 1, 2]}, "patched": [1.0, None, 3.0], "orig": [2.0, 2.0, 2.5], "new": [0.0, 0.0, 0.0],
    "summary": {"orig": {"mean": 2.1, "sd": 0.2, "sem": 0.1, "n": 3}, "patched": None, "new": None},
}  # fmt: skip
SWEEP = SHARED | {
    "metric": {"kind": "logit_diff", "title": "logit IO minus S", "unit": "nats", "normalize": "none"},
    "axes": ["sender_layer", "sender_head"],
    "shape": [2, 2], "coordinates": {"sender_layer": [0, 9], "sender_head": [0, 6]},
    "patched": [[3.0, 2.5], [0.5, 3.75]], "patched_sd": [[1, 1], [1, 1]], "patched_sem": [[0.1, 0.1], [0.1, 0.1]],
    "orig": 3.0, "new": -3.0, "reachable": [[True, True], [True, False]],
    "summary": {"orig": {"mean": 3.0, "sd": 1.0, "sem": 0.1, "n": 100}},
}  # fmt: skip
TOP = SWEEP | {
    "axes": ["cell"], "shape": [2], "coordinates": {"sender_layer": [9, 0], "sender_head": [0, 6]},
    "patched": [0.5, 2.5], "patched_sd": None, "patched_sem": None, "reachable": None,
}  # fmt: skip
BLOCK_FIELDS = ("metric", "axes", "shape", "coordinates", "patched", "orig", "new", "summary")
SEVERAL = SHARED | {
    "blocks": [
        {name: SWEEP[name] for name in BLOCK_FIELDS},
        {name: PER_EXAMPLE[name] for name in BLOCK_FIELDS}
        | {"metric": {"kind": "kl", "title": "KL from orig", "unit": "nats"}},
    ]
}
ALL = [PER_EXAMPLE, SWEEP, TOP, SEVERAL]


def test_effect_is_patched_minus_orig_whatever_orig_is():
    """Per example and per cell it is subtracted entry by entry, a mean from every cell."""
    assert Result.from_json(SWEEP).effect.tolist() == [[0.0, -0.5], [-2.5, 0.75]]
    effect = Result.from_json(PER_EXAMPLE).effect
    assert effect[0] == -1.0 and effect[2] == 0.5


def test_null_is_nan_in_arrays_and_null_again_in_json():
    """A number that is not finite, or was not computed, must never become 0."""
    result = Result.from_json(PER_EXAMPLE)
    assert np.isnan(result.patched[1])
    assert json.loads(json.dumps(result.to_json(), allow_nan=False))["patched"] == [1.0, None, 3.0]


def test_the_strongest_cells_come_first_and_unreachable_ones_never():
    """Where no path leads there is no effect to rank."""
    block = Result.from_json(SWEEP).block
    assert block.strongest(3) == [((1, 0), -2.5), ((0, 1), -0.5), ((0, 0), 0.0)]
    assert block.name_of((1, 0)) == "9.0"
    assert cell_name({"layer": 3, "position": "end"}) == "layer 3 at end"
    assert cell_name({"sender_layer": 0, "receiver_hook": "q", "receiver_layer": 3}) == "layer 0 → q 3"


def test_the_top_cells_know_their_coordinates():
    """With ``reduce: top`` the coordinates hold one entry per cell."""
    block = Result.from_json(TOP).block
    assert [block.name_of(place) for place, _ in block.strongest(2)] == ["9.0", "0.6"]


def test_several_metrics_are_chosen_by_name():
    """Asking for the arrays of one of several is an error that lists them."""
    result = Result.from_json(SEVERAL)
    assert result["kl"].axes == ("example",) and result[0].kind == "logit_diff"
    assert result["KL from orig"] is result["kl"]
    with pytest.raises(NotOneMetric, match="'logit IO minus S', 'KL from orig'"):
        _ = result.patched
    with pytest.raises(KeyError, match="loss"):
        result["loss"]


def test_tables_hold_two_metrics_of_one_kind_apart():
    """By title in rows, by number in names of variables."""
    titles = ["attention end → IO, head 2.1", "attention end → S1, head 2.1"]
    labels = [{"kind": "attention", "title": title, "unit": "probability"} for title in titles]
    whole = SHARED | {"blocks": [{name: SWEEP[name] for name in BLOCK_FIELDS} | {"metric": label} for label in labels]}
    result = Result.from_json(whole)
    assert result[titles[1]] is result.blocks[1]
    assert result.to_dataframe()["title"].tolist() == [title for title in titles for _ in range(4)]
    assert {"attention_0_patched", "attention_1_effect"} <= set(result.to_xarray().data_vars)
    assert all(f"{title} (probability)" in repr(result) for title in titles)


def test_what_a_cell_has_once_stands_beside_each_of_its_examples():
    """An empty column would say that the service did not know."""
    each = SWEEP | {
        "axes": [*SWEEP["axes"], "example"], "shape": [2, 2, 3],
        "coordinates": SWEEP["coordinates"] | {"example": [0, 1, 2]},
        "patched": np.arange(12.0).reshape(2, 2, 3).tolist(), "orig": [0.0, 1.0, 2.0], "n_examples": 3,
        "effect_sem": [[0.1, 0.2], [0.3, None]],
    }  # fmt: skip
    frame = Result.from_json(each).to_dataframe()
    assert frame["reachable"].tolist() == [True] * 9 + [False] * 3
    assert frame["effect_sem"].tolist()[:6] == [0.1] * 3 + [0.2] * 3
    assert Result.from_json(each).to_xarray()["effect_sem"].dims == ("sender_layer", "sender_head")


def test_verified_cells_are_printed_beside_the_estimates():
    """With a dash where only the estimate is known."""
    text = repr(
        Result.from_json(SWEEP | {"exact": [[None, None], [0.25, None]], "effect_sem": [[0.01, 0.02], [0.03, 0.04]]})
    )
    assert "cell  effect   sem  patched  orig  exact effect" in text
    assert (
        "9.0    -2.5  0.03      0.5     3         -2.75" in text
        and "0.6    -0.5  0.02      2.5     3             –" in text
    )


@pytest.mark.parametrize("data", ALL)
@pytest.mark.parametrize("ending", ["npz", "json"])
def test_a_saved_result_loads_as_it_was(data, ending, tmp_path):
    """Arrays, coordinates and provenance survive; nothing is pickled."""
    spec = {"model": {"name": "demo"}}
    result = Result.from_json(data, spec)
    loaded = Result.load(result.save(tmp_path / f"result.{ending}"))
    assert loaded.to_json() == result.to_json() and loaded.spec == spec


@pytest.mark.parametrize(("name", "said"), [("x.png", "--plot x.png"), ("x.parquet", ".npz, .json")])
def test_a_name_that_ends_in_no_format_of_a_result_is_refused(name, said, tmp_path):
    """``x.png.npz`` is what nobody asked for."""
    with pytest.raises(UnknownEnding, match=re.escape(said)):
        Result.from_json(SWEEP).save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_result_is_saved_as_csv_too(tmp_path):
    """The same rows as its table in Python."""
    result = Result.from_json(SWEEP)
    path = result.save(tmp_path / "result.csv")
    pandas.testing.assert_frame_equal(pandas.read_csv(path), result.to_dataframe())


def test_a_name_without_an_ending_becomes_npz(tmp_path):
    """As before."""
    assert Result.from_json(SWEEP).save(tmp_path / "result").name == "result.npz"


def test_a_foreign_npz_is_refused(tmp_path):
    """A file of something else must not load as an empty result."""
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    with pytest.raises(ValueError, match="pathpatch did not write it"):
        from_npz((tmp_path / "other.npz").read_bytes())


def test_npz_with_a_pickle_inside_is_refused(tmp_path):
    """Loading a result from a stranger must not run code."""
    np.savez(tmp_path / "evil.npz", head=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        from_npz((tmp_path / "evil.npz").read_bytes())


def test_the_dataframe_has_one_row_per_entry():
    """Coordinates as columns, so that groupby and pivot work."""
    frame = Result.from_json(SWEEP).to_dataframe()
    assert list(frame.columns[:5]) == ["sender_layer", "sender_head", "patched", "orig", "effect"]
    strongest = frame.loc[frame["effect"].abs().idxmax()]
    assert (strongest["sender_layer"], strongest["sender_head"]) == (9, 0)
    assert set(Result.from_json(SEVERAL).to_dataframe()["metric"]) == {"logit_diff", "kl"}
    assert list(Result.from_json(TOP).to_dataframe()["sender_layer"]) == [9, 0]


def test_xarray_selects_by_layer_and_head():
    """Named axes are the point of it."""
    pytest.importorskip("xarray")
    dataset = Result.from_json(SWEEP).to_xarray()
    assert float(dataset["effect"].sel(sender_layer=9, sender_head=0)) == -2.5
    assert "kl_patched" in Result.from_json(SEVERAL).to_xarray()
    assert Result.from_json(TOP).to_xarray()["sender_head"].values.tolist() == [0, 6]


@pytest.mark.parametrize("data", ALL)
def test_text_and_html_show_what_matters(data):
    """A result printed in a terminal or notebook says metric, unit, n and its warnings."""
    result = Result.from_json(data)
    for shown in (repr(result), result._repr_html_()):
        assert "logit IO minus S (nats)" in shown and "demo" in shown and "orig equals new" in shown


def test_html_escapes_what_others_wrote():
    """A warning may quote a prompt."""
    shown = Result.from_json(PER_EXAMPLE | {"warnings": ["<script>x</script>"]})._repr_html_()
    assert "<script>" not in shown and "&lt;script&gt;" in shown
