"""Tensors of a GGUF file under the names and in the order of transformers, dequantised to float32."""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from checkpoints.families.record import Config, Family, Part
from checkpoints.files import MIB, UnusableCheckpoint, open_regular
from checkpoints.gguf.header import PLAIN_TYPES, Header, read_gguf
from checkpoints.gguf.metadata import ROPE_FACTORS
from checkpoints.tensors import Tensor
from planning.architecture import Architecture

CHUNK_BYTES = 8 * MIB
NAMED_AT_MOST = 3
NAMES = {
    "embed_tokens": "token_embd",
    "norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""llama.cpp's names, by those of transformers."""
IN_CHUNKS = ("W_E", "W_U")


def gguf_name(name: str) -> str:
    """A tensor's name in a GGUF file, from its name in a checkpoint of transformers."""
    found = re.fullmatch(r"(?:layers\.(\d+)\.)?(.+)\.(weight|bias)", name)
    assert found is not None
    layer, middle, end = found.groups()
    return f"{'' if layer is None else f'blk.{layer}.'}{NAMES[middle]}.{end}"


def check_gguf(path: Path, family: Family, config: Config, architecture: Architecture) -> None:
    """Compare the file's tensors with its metadata; reads no weights.

    Raises:
        UnusableCheckpoint: Names the tensors that are missing, of another shape or type, or not this model's.
    """
    tensors = read_gguf(path).tensors
    wanted = (gguf_name(part.name) for part in family.parts(config, architecture))
    missing = list(islice((name for name in wanted if name not in tensors), NAMED_AT_MOST))
    if missing:
        raise UnusableCheckpoint(f"weights are missing, among them {', '.join(missing)}")
    shapes = {gguf_name(part.name): part.shape for part in family.parts(config, architecture)}
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise UnusableCheckpoint(
                f"its weights do not fit its metadata: {name} in {path.name} has the shape "
                f"{list(tensors[name].shape)}, and the metadata ask for {list(shape)}"
            )
        if not is_readable(tensors[name].dtype):
            raise UnusableCheckpoint(f"{name} in {path.name} is of type {tensors[name].dtype}, which cannot be read")
    if others := [name for name in tensors if name not in shapes and name != ROPE_FACTORS]:
        shown = ", ".join(others[:NAMED_AT_MOST])
        raise UnusableCheckpoint(f"{path.name} holds {shown}, which a {family.title} does not have")


def is_readable(dtype: str) -> bool:
    """Whether numbers of this type can be made floats."""
    from gguf import quants
    from gguf.constants import GGMLQuantizationType

    return dtype in PLAIN_TYPES or GGMLQuantizationType[dtype] in quants._type_traits


def quantised_types(header: Header) -> tuple[str, ...]:
    """Types of the file's quantised tensors."""
    return tuple(sorted({tensor.dtype for tensor in header.tensors.values()} - PLAIN_TYPES.keys()))


def rows_of(path: Path, architecture: Architecture, part: Part) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """A tensor's rows in order, as transformers has them: the first row's number, and the rows.

    Raises:
        UnusableCheckpoint: Some are no numbers; names the tensor.
    """
    tensor = read_gguf(path).tensors[gguf_name(part.name)]
    n_rows = tensor.shape[0]
    row_bytes = (tensor.stop - tensor.start) // n_rows
    n_floats = 4 * int(np.prod(tensor.shape[1:]))
    step = max(1, CHUNK_BYTES // n_floats) if part.role in IN_CHUNKS else n_rows
    with open_regular(path) as file:
        for first in range(0, n_rows, step):
            file.seek(tensor.start + first * row_bytes)
            rows = dequantised(file.read(min(step, n_rows - first) * row_bytes), tensor)
            if not np.isfinite(rows).all():
                raise UnusableCheckpoint(f"{path.name} holds NaN or infinite values in {gguf_name(part.name)}")
            yield first, in_order(rows, architecture, part.role)


def dequantised(content: bytes, tensor: Tensor) -> npt.NDArray[np.float32]:
    """Rows of a tensor as float32."""
    from gguf import quants
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    kind = GGMLQuantizationType[tensor.dtype]
    if tensor.dtype in ("F64", "F32", "F16"):
        floats = np.frombuffer(content, {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[tensor.dtype]).astype(np.float32)
    else:
        block, block_bytes = GGML_QUANT_SIZES[kind]
        width = tensor.shape[-1] // block * block_bytes
        floats = quants.dequantize(np.frombuffer(content, np.uint8).reshape(-1, width), kind)
    return floats.reshape(-1, *tensor.shape[1:])


def in_order(rows: npt.NDArray[np.float32], architecture: Architecture, role: str) -> npt.NDArray[np.float32]:
    """Rows as transformers orders them: llama.cpp rotates neighbouring dimensions of Llama's queries and keys."""
    heads = {"Q": architecture.n_heads, "K": architecture.n_kv_heads}.get(role.partition("_")[2])
    if architecture.family != "llama" or heads is None:
        return rows
    pairs = rows.reshape(heads, architecture.d_head // 2, 2, *rows.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows.shape)
