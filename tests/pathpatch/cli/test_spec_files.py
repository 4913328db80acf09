"""Spec files: what is written is what is read."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pathpatch.cli.spec_files import read_spec, read_value
from pathpatch.cli.terminal import CommandFailed
from pathpatch.presets import PRESETS, preset


@pytest.mark.parametrize(
    ("name", "text", "key"),
    [
        ("spec.json", '{"dataset": {"orig": ["a"], "new": ["b"], "orig": ["c"]}}', "orig"),
        ("-.json", '{"seed": 1, "seed": 1}', "seed"),
        ("spec.yaml", "metric: {kind: logit}\nmodel: {name: base}\nmetric: {kind: kl}\n", "metric"),
        ("spec.yaml", "patch: {senders: [{hook: z, layer: 0, layer: 1}]}\n", "layer"),
        ("spec.yaml", '{"model": {"name": "a"}, "model": {"name": "b"}}', "model"),
    ],
)
def test_a_key_given_twice_is_refused_as_over_http(tmp_path: Path, name: str, text: str, key: str) -> None:
    """Readers of the file would not agree on which of the two counts."""
    (tmp_path / name).write_text(text)
    with pytest.raises(CommandFailed, match=f"the key '{key}' is given twice"):
        read_spec(str(tmp_path / name))


def test_the_places_of_a_key_given_twice_are_named(tmp_path: Path) -> None:
    """A spec may have hundreds of lines."""
    (tmp_path / "spec.yaml").write_text("model: {name: a}\n# other\nmodel: {name: b}\n")
    with pytest.raises(CommandFailed, match=r"first at line 1, column 1 and again at line 3, column 1"):
        read_spec(str(tmp_path / "spec.yaml"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"), ("no", "no"), ("y", "y"), ("2024-01-01", "2024-01-01"), ("1:30", "1:30"), ("1_000", "1_000"),
        ("010", 10), ("-3", -3), ("1e3", 1000.0), ("0.5", 0.5), (".5", 0.5), ("true", True), ("False", False),
        ("null", None), ("~", None), ("", None), ("[1, on]", [1, "on"]), ("{a: 2}", {"a": 2}), ("'1'", "1"),
        (".inf", ".inf"), ("0x10", "0x10"), ("=", "="),
    ],
)  # fmt: skip
def test_values_are_read_as_they_are_written(text: str, value: Any) -> None:
    """YAML 1.1 takes `on` for true, 010 for 8, 1:30 for 90 and a date for no text."""
    read = read_value(text)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize("name", PRESETS)
def test_the_presets_read_as_any_yaml_reader_reads_them(tmp_path: Path, name: str) -> None:
    """What is stricter here must not change a spec that was fine."""
    (tmp_path / "spec.yaml").write_text(preset(name))
    assert read_spec(str(tmp_path / "spec.yaml")) == yaml.safe_load(preset(name))


def test_parts_are_shared_by_anchors_and_merges(tmp_path: Path) -> None:
    """As before: `<<` takes the fields of another mapping over."""
    (tmp_path / "spec.yaml").write_text("a: &head {hook: z, layer: 0}\nb: {<<: *head, layer: 1}\nc: *head\n")
    spec = read_spec(str(tmp_path / "spec.yaml"))
    assert spec["b"] == {"hook": "z", "layer": 1} and spec["c"] == spec["a"] == {"hook": "z", "layer": 0}


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_of_json_is_refused(tmp_path: Path, constant: str) -> None:
    """It could not be sent."""
    (tmp_path / "spec.json").write_text(f'{{"expires_after_s": {constant}}}')
    with pytest.raises(CommandFailed, match=f"{constant} is not a number of JSON"):
        read_spec(str(tmp_path / "spec.json"))


def test_a_byte_order_mark_is_no_part_of_the_spec(tmp_path: Path) -> None:
    """Editors of Windows write one."""
    (tmp_path / "spec.json").write_bytes(b"\xef\xbb\xbf{}")
    assert read_spec(str(tmp_path / "spec.json")) == {}
