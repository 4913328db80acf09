"""Process a checkpoint's weights with TransformerLens. The only module of the worker that imports it, and slowly."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from api_schemas.errors import UnusableModel
from api_schemas.spec import ModelSpec
from planning.architecture import Architecture
from worker.engine.model import Weights


def process_weights(
    folder: Path, architecture: Architecture, flags: ModelSpec, tokens: Tensor
) -> tuple[Weights, Tensor]:
    """The folder's weights, processed with the flags, and TransformerLens' own logits for the tokens.

    Raises:
        UnusableModel: The weights are not those that config.json promises, or cannot be processed.
    """
    disable_progress_bar()  # type: ignore[no-untyped-call]
    with one_thread(), torch.no_grad():
        try:
            bridge = _processed_bridge(folder, flags)
        except torch.linalg.LinAlgError as exc:  # type: ignore[attr-defined]
            raise UnusableModel(str(folder), f"its weights cannot be factored ({exc})") from exc
        return extract(bridge, architecture), bridge(tokens)


def _processed_bridge(folder: Path, flags: ModelSpec) -> TransformerBridge:
    bridge = TransformerBridge.boot_transformers(
        str(folder.resolve()), hf_model=_checkpoint(folder), device="cpu", tokenizer=_unused_tokenizer()
    )
    bridge.enable_compatibility_mode(
        disable_warnings=True,
        fold_ln=flags.fold_ln,
        center_writing_weights=flags.center_writing_weights,
        center_unembed=flags.center_unembed,
        refactor_factored_attn_matrices=flags.refactor_factored_attn_matrices,
        fold_value_biases=flags.fold_value_biases,
    )
    return bridge


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: decompositions of small matrices gain nothing from more, and stall on a busy machine."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def _checkpoint(folder: Path) -> GPT2LMHeadModel:
    from_pretrained: Any = GPT2LMHeadModel.from_pretrained  # its annotation forgets the loading report
    try:
        model: GPT2LMHeadModel
        model, report = from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation="eager",
            output_loading_info=True,
        )
    except (RuntimeError, OSError, ValueError) as exc:
        raise UnusableModel(str(folder), f"its weights do not fit its config.json ({exc})") from exc
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"])[:5])
        raise UnusableModel(str(folder), f"weights are missing, among them {missing}")
    return model


def _unused_tokenizer() -> PreTrainedTokenizerFast:
    """The bridge wants a tokenizer; ours never sees text, and a worker needs none of the folder's."""
    tokenizer = Tokenizer(WordLevel({"": 0}, unk_token=""))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="")  # type: ignore[no-untyped-call]


def extract(bridge: TransformerBridge, architecture: Architecture) -> Weights:
    """The weights that the bridge computes with, as float32 copies of their own."""

    def norms(name: str, part: str) -> Tensor:
        return torch.stack([getattr(getattr(block, name), part).detach() for block in bridge.blocks])

    same_name = "W_E W_pos W_Q W_K W_V b_Q b_K b_V W_O b_O W_in b_in W_out b_out W_U b_U"
    tensors = {name: getattr(bridge, name) for name in same_name.split()}
    tensors |= {"ln1_w": norms("ln1", "weight"), "ln1_b": norms("ln1", "bias")}
    tensors |= {"ln2_w": norms("ln2", "weight"), "ln2_b": norms("ln2", "bias")}
    tensors |= {"ln_final_w": bridge.ln_final.weight, "ln_final_b": bridge.ln_final.bias}
    own = {name: value.detach().to(torch.float32).clone().contiguous() for name, value in tensors.items()}
    return Weights(architecture, **own)
