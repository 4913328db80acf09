"""The drawings of the documentation show what the code does."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from planning.prompts import prefixes_of

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_of_computed_rows_is_what_the_clean_runs_compute() -> None:
    """Word by word: the first prompt with a beginning computes it, all others find it there."""
    drawn = ElementTree.parse(IMAGES / "which-rows-are-computed.svg").getroot().findall(f"{SVG}g")  # noqa: S314 (ours)
    words = [[text.text or "" for text in prompt.findall(f"{SVG}text")] for prompt in drawn]
    shown = [[rect.get("class") for rect in prompt.findall(f"{SVG}rect")] for prompt in drawn]
    assert [run for run, *_ in words] == ["orig", "new"] * (len(words) // 2)
    vocabulary = sorted({word for _, *prompt in words for word in prompt})
    found = prefixes_of([[vocabulary.index(word) for word in prompt] for _, *prompt in words])
    expected = np.where(np.arange(found.place.shape[1]) < [[len(prompt) - 1] for prompt in words], "c", "p")
    expected.ravel()[found.first] = "r"
    assert shown == expected.tolist()
    assert f"these six prompts {len(found)} rows" in (IMAGES.parent / "performance.md").read_text()
    assert f"padded batch has {found.place.size}:" in (IMAGES.parent / "performance.md").read_text()
