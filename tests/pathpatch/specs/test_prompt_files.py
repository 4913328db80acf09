"""Prompts from files: each format by an example, and every complaint with its place."""

import json
from pathlib import Path

import pytest

import pathpatch as pp
from pathpatch.problems import SpecError

FILES = Path(__file__).parents[2] / "prompt_files"
ORIG = [
    "When Mary and John went to the store, John gave a drink to",
    "When Anna and Tom went to the store, Tom gave a drink to",
]
ABC = [
    "When Anna and Tom went to the store, James gave a drink to",
    "When Mary and John went to the store, James gave a drink to",
]
FLIPPED = [
    "When Mary and John went to the store, Mary gave a drink to",
    "When Anna and Tom went to the store, Anna gave a drink to",
]
NAMES = {"correct": [" Mary", " Anna"], "incorrect": [" John", " Tom"]}
IDS = {"correct": [773, 798], "incorrect": [800, 778]}


@pytest.mark.parametrize(
    ("file", "options", "expected"),
    [
        ("eap_ig_ioi.csv", {}, pp.prompts(ORIG, ABC, answers=IDS)),
        ("eap_ig_text.jsonl", {}, pp.prompts(ORIG, ABC, answers=NAMES)),
        ("eap_ig_text.jsonl", {"examples": 1, "swap": True}, pp.prompts(
            ORIG[:1], ABC[:1], answers={"correct": [" Mary"], "incorrect": [" John"]}, swap=True)),
        ("auto_circuit.json", {}, pp.prompts(ORIG, ABC, answers=NAMES, prepend_bos=True, roles={
            "IO": [2, 2], "S1": [4, 4], "end": [20, 20]})),
        ("auto_circuit_tokens.json", {}, pp.tokens([[440, 773, 262, 800]], [[440, 798, 262, 778]], answers={
            "correct": [773], "incorrect": [800]})),
        ("mib_ioi.jsonl", {}, pp.prompts(ORIG, FLIPPED, answers=NAMES)),
        ("mib_ioi.jsonl", {"counterfactual": "abc", "prepend_bos": True}, pp.prompts(
            ORIG, ABC, answers=NAMES, prepend_bos=True)),
    ],
)  # fmt: skip
def test_a_file_of_each_format_is_the_dataset_that_it_says(file, options, expected):
    """Prompts, answers and positions; a byte-order mark and Windows' line ends are no part of them."""
    assert pp.prompts_from(FILES / file, **options) == expected


def test_answers_of_eap_igs_other_tasks_are_found_by_their_names():
    """`correct` is the answer of the clean prompt, whatever the column is called."""
    dataset = pp.prompts_from(FILES / "eap_ig_gender.csv")
    assert dataset.answers == IDS
    assert dataset.orig[0] == "Then, Mary gave a drink to"


def test_a_multiple_choice_is_answered_by_its_letter():
    """Without a space where the prompt ends in one; the other answer is the counterfactual's."""
    dataset = pp.prompts_from(FILES / "mib_choices.json")
    assert dataset.answers == {"correct": ["B"], "incorrect": ["A"]}
    assert dataset.new[0].endswith("A. red\nB. blue\nAnswer: ")


@pytest.mark.parametrize("stray", [" ", "\r"])
def test_a_stray_blank_leaves_the_answers_as_they_are(tmp_path, stray):
    """So that validation warns of the blank, and does not refuse the answers for it."""
    text = (
        (FILES / "mib_ioi.jsonl")
        .read_text(encoding="utf-8")
        .replace("a drink to", f"a drink to{json.dumps(stray)[1:-1]}")
    )
    (tmp_path / "stray.jsonl").write_text(text, encoding="utf-8")
    dataset = pp.prompts_from(tmp_path / "stray.jsonl")
    assert dataset.orig[0].endswith(f"to{stray}")
    assert dataset.answers == pp.prompts_from(FILES / "mib_ioi.jsonl").answers


def test_several_answers_of_an_example_are_a_set():
    """Hypernymy has them; where one example has a set, all have."""
    dataset = pp.prompts_from(FILES / "eap_ig_sets.csv")
    assert dataset.answers == {"correct": [[773, 798], [798]], "incorrect": [[800], [778, 826]]}


def test_a_file_is_a_spec_at_once():
    """The one line that a user of such a file writes."""
    spec = pp.path_patch(
        pp.sweep("z"), pp.resid(3), pp.prompts_from(FILES / "eap_ig_ioi.csv"), pp.logit_diff("correct", "incorrect")
    )
    assert spec.dataset.answers["correct"] == [773, 798]


LINE = {"clean": "a", "corrupted": "b", "correct_idx": 3, "incorrect_idx": 4}
MIB = {"prompt": "p", "choices": ["x", "y", "z"], "answerKey": 0}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "clean,corrupted,correct_idx,incorrect_idx\na,b,1,2\na,b,x,2\n",
         "a.csv, line 3, column 'correct_idx': 'x' is no token id"),
        ("a.csv", "clean,corrupted,correct_idx,incorrect_idx\na,b,-1,2\n", "line 2, column 'correct_idx': -1 is no"),
        ("a.csv", "clean,corrupted,correct_idx,incorrect_idx\na,b,1.5,2\n", "line 2, column 'correct_idx': 1.5 is no"),
        ("a.csv", 'clean,corrupted\n"a\nb",c\n,d\n', "a.csv, line 4, column 'clean': it is missing or empty"),
        ("a.csv", "clean,corrupted\na\n", "line 2: it has not as many cells as the header, which has 2"),
        ("a.csv", "clean,corrupted\na,b,c\n", "line 2: it has not as many cells as the header"),
        ("a.csv", 'clean,corrupted\n"a,b\n', "a.csv, line 2: unexpected end of data"),
        ("a.csv", "clean,corrupted,correct_idx\na,b,32\n", "'correct_idx', and for the other answer none of .*a year"),
        ("a.csv", "text,label\na,b\n", "a.csv: its fields are label, text. It must have clean and corrupted"),
        ("a.csv", "clean,corrupted\n", "a.csv has no examples"),
        ("a.jsonl", json.dumps(LINE) + "\n" + json.dumps(LINE | {"clean": 5}), "line 2, column 'clean': 5 is no text"),
        ("a.jsonl", json.dumps(LINE) + '\n{"clean": }', r"a.jsonl, line 2, column 11: Expecting value"),
        ("a.jsonl", "[1]", r"a.jsonl, line 1: \[1\] is no record"),
        ("a.json", '{"prompts": 3}', r'must be a list of records, or \{"prompts"'),
        ("a.json", '{"prompts": [{"clean": "a", "corrupt": "b", "answers": []}]}', "column 'answers': .* empty"),
        ("a.json", '{"prompts": [{"clean": [1, "x"], "corrupt": [1, 2]}]}', "column 'clean': 'x' is no token id"),
        ("a.json", json.dumps([MIB | {"b_counterfactual": MIB, "a_counterfactual": MIB}]),
         "there are several counterfactuals; choose one of a, b"),
        ("a.json", json.dumps([MIB | {"a_counterfactual": "x"}]), "column 'a_counterfactual': 'x' is no record"),
        ("a.json", json.dumps([MIB | {"a_counterfactual": MIB}]), "column 'choices': .* 2 other choices are left"),
        ("a.json", json.dumps([MIB | {"answerKey": 3, "a_counterfactual": MIB}]),
         "column 'answerKey': 3 is none of the choices, which are counted from 0 to 2"),
        ("a.txt", "", "a.txt must end in one of .csv, .jsonl, .json"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_with_its_line_and_column(tmp_path, name, text, said):
    """A file of thousands of lines is mended only where one knows where."""
    (tmp_path / name).write_text(text)
    with pytest.raises(SpecError, match=said):
        pp.prompts_from(tmp_path / name)


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path):
    """Not a traceback of Python's own."""
    with pytest.raises(SpecError, match="No such file"):
        pp.prompts_from(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes("clean,corrupted\nMüller,b\n".encode("latin-1"))
    with pytest.raises(SpecError, match=r"latin\.csv is not UTF-8 text: byte 17"):
        pp.prompts_from(tmp_path / "latin.csv")


def test_an_unknown_counterfactual_is_answered_with_those_there_are():
    """The names in the file are without their ending."""
    with pytest.raises(SpecError, match="no counterfactual 'xyz'; choose one of abc, s2_io_flip"):
        pp.prompts_from(FILES / "mib_ioi.jsonl", counterfactual="xyz")
