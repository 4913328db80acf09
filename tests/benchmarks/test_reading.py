"""What the count of files and functions to read is made of."""

import pytest

from api_schemas.metrics import LogitDiff, title_of
from benchmarks.reading import (
    BARRED,
    CHECKS,
    MAX_FILES,
    MAX_FUNCTIONS,
    NUMBER,
    OUTPUT,
    RESULT,
    functions_entered,
    report,
    size,
    stages_of_experiment,
)

METRIC = LogitDiff(kind="logit_diff", answer="IO", minus_answer="S")


def test_each_function_is_counted_once_in_order_of_first_entry() -> None:
    """Properties count, as a reader must look them up; generator expressions and functions of other packages do not."""
    found = functions_entered(lambda: sum(len(title_of(METRIC)) for _ in range(2)))
    assert list(found) == [("api_schemas/metrics.py", "title_of"), ("api_schemas/metrics.py", "LogitDiff.words")]


def test_the_bar_is_for_files_and_for_functions() -> None:
    """One more of either and the report says so; what is entered of api_schemas is no part of it."""
    beside = [("api_schemas/metrics.py", f"f{number}") for number in range(500)]
    functions = [("planning/grid.py", f"f{number}") for number in range(MAX_FUNCTIONS)]
    files = [(f"planning/m{number}.py", "f") for number in range(MAX_FILES)]
    for within in (functions + beside, files + beside):
        assert ": met)" in report("one", within)
        assert ": NOT MET)" in report("one", [*within, ("worker/engine/one.py", "more")])


def test_a_stage_holds_what_its_first_function_enters() -> None:
    """A function that the number needs too is counted there, and in no other stage."""
    stages = stages_of_experiment("founding experiment")
    places = {function: stage for stage, functions in stages.items() for function in functions}
    assert sum(map(len, stages.values())) == len(places)
    assert places["worker/engine/checks.py", "completeness"] == CHECKS
    assert places["worker/engine/senders.py", "input_changes"] == NUMBER  # which the checks enter as well
    assert places["worker/jobs/records.py", "pack"] == OUTPUT
    assert places["worker/jobs/result.py", "assemble"] == RESULT


@pytest.mark.parametrize("name", BARRED)
def test_the_way_to_a_number_stays_short(name: str) -> None:
    """What a reader must look up to follow one cell."""
    files, count = size(stages_of_experiment(name)[NUMBER])
    assert files <= MAX_FILES and count <= MAX_FUNCTIONS
