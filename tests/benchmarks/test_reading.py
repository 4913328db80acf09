"""What the count of files and functions to read is made of."""

from api_schemas.metrics import LogitDiff, title_of
from benchmarks.reading import MAX_FILES, MAX_FUNCTIONS, functions_entered, report

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
