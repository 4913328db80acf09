"""Whether the weights of a checkpoint folder are those that its config.json promises, and numbers all of them."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from checkpoints.contents import read_content
from checkpoints.families.record import Family
from checkpoints.files import UnusableCheckpoint
from checkpoints.folder import Configuration, is_gguf
from checkpoints.gguf.values import check_gguf
from checkpoints.tensors import FLOATS, Tensor, are_equal, tensors_of, weight_files

NAMED_AT_MOST = 3


def check_weights(folder: Path, found: Configuration) -> None:
    """Compare the headers of the weight files with ``config.json``; reads no weights.

    Raises:
        MissingFile: There are none.
        UnusableCheckpoint: Names the tensors that are missing, of another shape or type, or not this model's.
    """
    family = found.family
    if is_gguf(folder):
        check_gguf(folder, family, found.config, found.architecture)
        return
    tensors = _without_prefix(family, tensors_of(folder, weight_files(folder)))
    one, other = family.tied
    wanted = (part.name for part in family.parts(found.config, found.architecture))
    missing = list(islice((name for name in wanted if name not in tensors), NAMED_AT_MOST))
    if missing:
        raise UnusableCheckpoint(f"weights are missing, among them {', '.join(missing)}")
    shapes = {part.name: part.shape for part in family.parts(found.config, found.architecture)}
    is_tied = other not in shapes
    if other in tensors and other not in shapes:
        shapes[other] = shapes[one]
    _check_shapes(tensors, shapes)
    _check_types(tensors, shapes)
    _check_unexpected(family, tensors, shapes)
    if is_tied and other in tensors and not are_equal(folder, tensors[one], tensors[other]):
        raise UnusableCheckpoint(
            f"config.json ties {other} to {one}, and {tensors[other].file} holds two different tensors: "
            'write "tie_word_embeddings": false if both are meant'
        )


def _without_prefix(family: Family, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        plain = family.plain(name)
        if plain in named:
            raise UnusableCheckpoint(f"{tensor.file} holds {plain} twice, with and without {family.prefixes[0]!r}")
        named[plain] = tensor
    return named


def _check_shapes(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise UnusableCheckpoint(
                f"its weights do not fit its config.json: {name} in {tensors[name].file} has the shape "
                f"{list(tensors[name].shape)}, and config.json asks for {list(shape)}"
            )


def _check_types(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name in shapes:
        if tensors[name].dtype not in FLOATS:
            raise UnusableCheckpoint(
                f"{name} in {tensors[name].file} is of type {tensors[name].dtype}: quantised weights are not loaded, "
                f"only {', '.join(FLOATS)}"
            )


def _check_unexpected(family: Family, tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    others = [name for name in tensors if name not in shapes and not family.unused.fullmatch(name)]
    if not others:
        return
    more = f" and {len(others) - NAMED_AT_MOST} more" if len(others) > NAMED_AT_MOST else ""
    hint = ": merge the adapter into the weights first" if any("lora_" in name for name in others) else ""
    shown = f"{', '.join(others[:NAMED_AT_MOST])}{more}"
    raise UnusableCheckpoint(f"{tensors[others[0]].file} holds {shown}, which a {family.title} does not have{hint}")


def weight_paths(folder: Path) -> list[Path]:
    """The files that hold a checkpoint's weights."""
    return [folder] if is_gguf(folder) else [folder / file for file in weight_files(folder)]


def check_values(folder: Path) -> None:
    """Read all weights and look for what is no number; of a GGUF file in those that are not quantised.

    Raises:
        UnusableCheckpoint: Names the tensors with a NaN or an infinity.
    """
    for path in weight_paths(folder):
        file, names = path.name, read_content(path).not_finite
        if names:
            more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
            raise UnusableCheckpoint(f"{file} holds NaN or infinite values in {', '.join(names[:NAMED_AT_MOST])}{more}")
