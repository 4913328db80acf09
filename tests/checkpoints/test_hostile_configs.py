"""Values that nobody would write: a model is refused in words or has sizes that make sense; nothing else is raised."""

import json
import math
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoints.files import UnusableCheckpoint
from checkpoints.folder import configuration
from checkpoints.weights import check_weights
from planning.architecture import Architecture
from tests.tiny_families import CASES, tiny_model
from tests.tiny_gguf import write_gguf

HOSTILE: list[Any] = [
    *(None, True, False, 0, -1, 1, 3, 7.5, math.nan, math.inf, 1e308, 10**9, 10**30),
    *("x", "", [], [1], [None], {}, {"a": 1}, "yarn", "llama3", ["sliding_attention"] * 2),
]
ROPE = ("rope_type", "type", "factor", "rope_theta", "partial_rotary_factor", "beta_fast", "low_freq_factor", "mscale")
OTHERS = ("rope_scaling", "rope_theta", "head_dim", "partial_rotary_factor", "original_max_position_embeddings")


@cache
def config_of(case: str) -> str:
    return json.dumps(tiny_model(case).config.to_dict() | {"architectures": None}, default=str)


def is_sound(found: Architecture) -> bool:
    numbers = [found.attention_divisor, found.attention_cap, found.logit_cap, found.eps]
    sizes = [found.d_head, found.n_kv_heads, *found.windows]
    return all(number is None or 0 < number < math.inf for number in numbers) and all(
        size is None or (type(size) is int and size > 0) for size in sizes
    )


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_hostile_values_of_config_json(case: str, data: st.DataObject) -> None:
    """Of any key, and of any key of the rope parameters."""
    config = json.loads(config_of(case))
    keys = st.sampled_from([key for key in [*config, *OTHERS] if key != "model_type"])
    for key in data.draw(st.lists(keys, max_size=2)):
        config[key] = data.draw(st.sampled_from(HOSTILE))
    if isinstance(config.get("rope_parameters"), dict):
        values = st.dictionaries(st.sampled_from(ROPE), st.sampled_from(HOSTILE), max_size=2)
        config["rope_parameters"] = {**config["rope_parameters"], **data.draw(values)}
    with tempfile.TemporaryDirectory() as place, suppress(UnusableCheckpoint):
        (Path(place) / "config.json").write_text(json.dumps(config))
        assert is_sound(configuration(Path(place)).architecture)


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "model.gguf")


@settings(max_examples=150, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 255)), min_size=1, max_size=4))
def test_hostile_bytes_of_a_gguf_header(gguf_file: Path, changes: list[tuple[int, int]]) -> None:
    """A file from anywhere is read by the service."""
    content = bytearray(gguf_file.read_bytes())
    for place, value in changes:
        content[place] = value
    with tempfile.TemporaryDirectory() as folder, suppress(UnusableCheckpoint):
        path = Path(folder) / "model.gguf"
        path.write_bytes(content)
        found = configuration(path)
        check_weights(path, found)
        assert is_sound(found.architecture)
