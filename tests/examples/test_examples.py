"""Every example runs and shows what its page says; every spec for GPT-2 small is one that the service would accept."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml
from tokenizers import Tokenizer

from api_schemas.spec import JobSpec
from pathpatch.client import Client
from pathpatch.results import CircuitResult, Result
from planning.architecture import Architecture
from service.models.catalog import CatalogModel
from service.specs.limits import SpecLimits
from service.specs.validation import check_spec
from tests.specs_of_demo import catalog

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
GPT2_TOKENIZER = EXAMPLES.parents[1] / "shared" / "gpt2_tokenizer" / "tokenizer.json"
"""GPT-2's own tokenizer, where this machine has it; its 124 million weights are not needed to check a spec."""
DEMO_SPECS = sorted(str(path.relative_to(EXAMPLES)) for path in EXAMPLES.glob("*/spec*.yaml"))
GPT2_SPECS = sorted(str(path.relative_to(EXAMPLES)) for path in EXAMPLES.glob("*/gpt2-small*.yaml"))
SMOLLM2_SPECS = [f"{folder}/{path.name}" for folder in ("greater-than", "induction")
                 for path in sorted((EXAMPLES / folder).glob("smollm2*.yaml"))]  # fmt: skip


def means(result: Result) -> tuple[float, float, float]:
    """Means of orig, patched and new."""
    orig, patched, new = (result.summary[run]["mean"] for run in ("orig", "patched", "new"))
    return orig, patched, new


def strongest(result: Result) -> str:
    """Name of the cell of largest absolute effect."""
    ((place, _),) = result.block.strongest(1)
    return result.block.name_of(place)


def senders_of_the_card() -> set[str]:
    """The heads that the demo model's card names as the receiver's senders."""
    spec = yaml.safe_load((EXAMPLES / "founding-experiment" / "spec.yaml").read_text())
    return {f"{node['layer']}.{node['head']}" for node in spec["patch"]["senders"]}


def _founding(result: Result) -> None:
    orig, patched, new = means(result)
    assert orig > 0.5, "the head tells IO from S1"
    assert abs(patched) < orig / 2, "and no longer does"
    assert abs(new) < orig / 4, "on other prompts it never did"


def _noising(result: Result) -> None:
    orig, patched, new = means(result)
    assert (orig, new) == pytest.approx((0, -1), abs=1e-6)
    assert patched < -0.5, "the paths are needed"


def _denoising(result: Result) -> None:
    orig, patched, new = means(result)
    assert (orig, new) == pytest.approx((0, 1), abs=1e-6)
    assert patched > 0.5, "the paths are enough"


def _logits(result: Result) -> None:
    assert result.orig == pytest.approx(0, abs=1e-6)
    assert result.effect.min() < -0.03, "some head writes a part of the answer"
    assert result.effect.min() > -1, "and none all of it"


def _queries(result: Result) -> None:
    assert strongest(result) in senders_of_the_card()
    assert result.effect.min() < -0.05


def _by_input(result: Result) -> None:
    size = np.abs(result.effect).max(axis=(1, 2))
    by_hook = dict(zip(result.coordinates["receiver_hook"], size, strict=True))
    assert by_hook["q"] > 3 * by_hook["k"]
    assert by_hook["q"] > 3 * by_hook["v"], "they change where later heads look, not what these find"


def _values(result: Result) -> None:
    reached = result.block.reachable
    assert reached is not None and reached.any() and not reached.all()
    assert (result.effect[~reached] == 0).all(), "no head reaches an earlier layer's values"


def _induction(result: Result) -> None:
    assert np.abs(result.effect).max() < 0.01, "the demo model has no induction heads"


def _no_numbers(result: Result) -> None:
    assert np.abs(result.orig).max() < 1e-6, "the demo model has never seen a year"


def _no_repetition(result: Result) -> None:
    orig, new = (result.summary[run]["mean"] for run in ("orig", "new"))
    assert abs(orig - new) < 2 and orig < -15, "repeated or not, the token is as unlikely"


def _positions(result: Result) -> None:
    differs, end = 11, result.shape[1] - 1
    first, last = result.effect[0], result.effect[-1]
    assert (int(np.argmax(first)), int(np.argmax(last))) == (differs, end), "from the word that differs to the last"
    assert first[differs] == pytest.approx(1, abs=1e-3), "before any layer, that word is all that differs"
    assert (result.effect[:, :differs] == 0).all(), "what comes before it is the same in both runs"


def _heads(result: Result) -> None:
    assert strongest(result) in senders_of_the_card()


def _top_edges(result: Result) -> None:
    size = np.abs(result.effect)
    assert (np.diff(size) <= 0).all(), "strongest first"
    assert strongest(result).split(" ")[0] in senders_of_the_card()


def _matrix(result: Result) -> None:
    reached = result.block.reachable
    assert reached is not None
    assert (result.effect[~reached] == 0).all()
    assert strongest(result).split(" ")[0] in senders_of_the_card()


def _estimates(result: Result) -> None:
    block = result.block
    assert block.estimate is not None and block.verified is not None and block.verified_cells is not None
    assert len(block.estimate) == len(block.verified) == len(block.verified_cells) == 30
    orig = float(np.nanmean(block.orig))
    estimate, exact = block.estimate - orig, block.verified - orig
    assert (np.sign(estimate) == np.sign(exact)).mean() > 0.8, "estimates have the exact method's sign"
    assert any("first-order" in warning for warning in result.warnings)


PROPERTIES: dict[str, tuple[tuple[str, ...], Callable[[Result], None]]] = {
    "founding-experiment/spec.yaml": (("example",), _founding),
    "backup-heads/spec.yaml": (("example",), _noising),
    "backup-heads/spec-denoising.yaml": (("example",), _denoising),
    "heads-to-logits/spec.yaml": (("sender_layer", "sender_head"), _logits),
    "heads-to-logits/spec-skip-only.yaml": (("sender_layer", "sender_head"), _logits),
    "s-inhibition/spec.yaml": (("sender_layer", "sender_head"), _queries),
    "s-inhibition/spec-by-input.yaml": (("receiver_hook", "receiver_layer", "receiver_head"), _by_input),
    "s-inhibition/spec-values.yaml": (("sender_layer", "sender_head"), _values),
    "induction-heads/spec.yaml": (("sender_layer", "sender_head"), _induction),
    "greater-than/spec.yaml": (("sender_layer", "sender_head"), _no_numbers),
    "induction/spec.yaml": (("sender_layer", "sender_head"), _no_repetition),
    "activation-patching/spec.yaml": (("layer", "position"), _positions),
    "activation-patching/spec-heads.yaml": (("layer", "head"), _heads),
    "edge-matrix/spec.yaml": (("cell",), _top_edges),
    "edge-matrix/spec-matrix.yaml": (
        ("sender_layer", "sender_head", "receiver_hook", "receiver_layer", "receiver_head"),
        _matrix,
    ),
    "attribution/spec.yaml": (
        ("sender_layer", "sender_head", "receiver_hook", "receiver_layer", "receiver_head"),
        _estimates,
    ),
}


NUMBER = re.compile(r"[-+\u2212]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def assert_page_shows(name: str, result: Result | CircuitResult) -> None:
    """The page's figures are those of the model that ships: its digest, and every number of the table."""
    from make_figures import numbers

    example, spec = name.split("/")
    page = (EXAMPLES / example / "README.md").read_text(encoding="utf-8")
    assert f"weights `{result.provenance['weights_sha256'][:12]}`" in page, "run python examples/make_figures.py"
    part = page.partition(f"<!-- begin {Path(spec).stem} result -->")[2].partition("<!-- end -->")[0]
    shown, found = part.partition("\n\n")[2].strip(), numbers(result)
    assert NUMBER.sub("#", shown) == NUMBER.sub("#", found), "run python examples/make_figures.py"
    figures = [[float(one.replace("\u2212", "-")) for one in NUMBER.findall(text)] for text in (shown, found)]
    assert figures[0] == pytest.approx(figures[1], rel=0.02, abs=2e-3), "run python examples/make_figures.py"


CIRCUITS = {"circuit/spec.yaml": (-1.0, 0.2), "circuit/spec-iterated.yaml": (0.6, 1.2)}
"""Between what the faithfulness of 300 edges lies."""


@pytest.mark.integration
@pytest.mark.parametrize("name", CIRCUITS)
def test_a_circuit_keeps_as_much_of_the_task_as_its_page_says(client: Client, name: str) -> None:
    """With the checks that every circuit job carries."""
    spec = yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))
    result = client.run(spec, timeout_s=300)
    assert isinstance(result, CircuitResult)
    assert result.checks["one_edge_max_abs"] < 1e-3
    low, high = CIRCUITS[name]
    assert low < (result.circuit(300).faithfulness or 0) < high
    assert_page_shows(name, result)


@pytest.mark.integration
@pytest.mark.parametrize("name", [name for name in DEMO_SPECS if name not in CIRCUITS])
def test_an_example_runs_and_shows_what_its_page_says(client: Client, name: str) -> None:
    """On the shape that validation announces, with the checks that every result carries."""
    axes, has_property = PROPERTIES[name]
    spec = yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))
    announced = client.validate(spec)
    result = client.run(spec, timeout_s=300)  # seconds alone; others may be at work here
    assert result.axes == axes == tuple(announced.axes)
    assert list(result.shape) == announced.shape
    assert result.checks["identity_max_abs"] == 0
    has_property(result)
    assert_page_shows(name, result)


def test_every_example_has_a_property() -> None:
    """An example that nobody looks at may show anything."""
    assert set(DEMO_SPECS) == {*PROPERTIES, *CIRCUITS}


def test_specs_are_those_of_their_templates_and_the_demo_models_card() -> None:
    """After a new demo model or an edit of a template: ``python examples/make_figures.py``."""
    from experiments import written_specs

    for path, text in written_specs().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run python examples/make_figures.py"
    written = {str(path.relative_to(EXAMPLES)) for path in written_specs()}
    assert written == {*DEMO_SPECS, *GPT2_SPECS, *SMOLLM2_SPECS}


def test_pages_show_the_specs_that_run() -> None:
    """The blocks in a README are filled in by the script that runs them."""
    from experiments import FOLDER
    from make_figures import PICTURES, fill, spec_block

    for example, pictures in PICTURES.items():
        readme = (FOLDER / example / "README.md").read_text(encoding="utf-8")
        for picture in pictures:
            spec = (FOLDER / example / picture.spec).read_text(encoding="utf-8").rstrip()
            block = spec_block(spec, picture.spec)
            assert fill(readme, Path(picture.spec).stem, block) == readme, f"{example}: run make_figures.py"
            assert f"]({picture.file})" in readme


@cache
def gpt2_small() -> CatalogModel:
    """GPT-2 small's shape, with its tokenizer where this machine has it."""
    architecture = Architecture(n_layers=12, n_heads=12, d_model=768, d_mlp=3072, n_ctx=1024, d_vocab=50257)
    if not GPT2_TOKENIZER.is_file():
        pytest.skip(f"needs GPT-2's tokenizer at {GPT2_TOKENIZER}")
    tokenizer = Tokenizer.from_file(str(GPT2_TOKENIZER))
    demo = catalog().get("demo")
    return replace(demo, name="gpt2-small", architecture=architecture, tokenizer=tokenizer, bos_id=50256)


@pytest.mark.parametrize("name", GPT2_SPECS)
def test_a_spec_for_gpt2_small_fits_the_schema(name: str) -> None:
    """Nobody can run these here, so at least nothing in them is misspelled."""
    spec = JobSpec.model_validate(yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8")))
    assert spec.model.name == "gpt2-small"


@pytest.mark.parametrize("name", GPT2_SPECS)
def test_a_spec_for_gpt2_small_would_be_accepted(name: str) -> None:
    """Heads, layers, names and tokens are those of GPT-2 small, within the service's limits."""
    spec = JobSpec.model_validate(yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8")))
    checked = check_spec(spec, gpt2_small(), SpecLimits())
    assert checked.cells >= 1
    assert not [warning for warning in checked.warnings if not warning.startswith("no path leads")]
