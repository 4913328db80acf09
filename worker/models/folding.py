"""Processing of weights that leaves a model's function as it is, in place, layer by layer: TransformerLens' flags.

It is what TransformerLens does to GPT-2 (``ProcessWeights``), for grouped heads, RMSNorm and gated neurons too.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from api_schemas.spec import ModelSpec
from planning.architecture import Architecture
from planning.processing_flags import inapplicable_flags
from worker.engine.model import Weights

AT_ONCE = 1 << 21
"""Numbers of a large tensor that are processed together, for what is made of them meanwhile takes memory too."""


def applied_flags(flags: ModelSpec, architecture: Architecture) -> dict[str, bool]:
    """The flags that are asked for and can apply."""
    without = inapplicable_flags(architecture)
    asked: Mapping[str, bool] = flags.model_dump(exclude={"name"})
    return {name: value and name not in without for name, value in asked.items()}


def fold(weights: Weights, flags: Mapping[str, bool]) -> Weights:
    """The same function with weights processed; overwrites the tensors of the weights that it is given."""
    for layer in range(weights.architecture.n_layers):
        if flags["fold_ln"]:
            _fold_norms(weights, layer)
        if flags["center_writing_weights"]:
            for written in (weights.W_O, weights.b_O, weights.W_out, weights.b_out):
                _centre(written[layer])
        if flags["fold_value_biases"] or flags["refactor_factored_attn_matrices"]:
            _fold_value_biases(weights, layer)
        if flags["refactor_factored_attn_matrices"]:
            _refactor(weights, layer)
    if flags["fold_ln"]:
        _fold_final_norm(weights)
    if flags["center_writing_weights"]:
        _centre(weights.W_E)
        if weights.W_pos is not None:
            _centre(weights.W_pos)
    if flags["center_unembed"]:
        _centre(weights.W_U)
        _centre(weights.b_U)
    return Weights(weights.architecture, **weights.tensors())  # without what the old record has cached


def _centre(weight: Float[Tensor, "*rows size"]) -> None:
    """Subtract each row's mean."""
    rows = weight.view(-1, weight.shape[-1])
    for some in rows.split(max(1, AT_ONCE // rows.shape[1])):
        some.sub_(some.mean(dim=-1, keepdim=True, dtype=torch.float32))


def _fold_norms(weights: Weights, layer: int) -> None:
    """Gain and bias of the norms before attention and MLP, into what reads them."""
    gain, bias = weights.ln1_w[layer].float(), weights.ln1_b[layer].float()
    for weight, own in (
        (weights.W_Q, weights.b_Q),
        (weights.W_K, weights.b_K),
        (weights.W_V, weights.b_V),
    ):
        own[layer].copy_(own[layer].float() + torch.einsum("d,hde->he", bias, weight[layer].float()))
        weight[layer].mul_(gain[:, None].to(weight.dtype))
    gain, bias = weights.ln2_w[layer].float(), weights.ln2_b[layer].float()
    for branch, offset in ((weights.W_in, weights.b_in), (weights.W_gate, weights.b_gate)):
        if branch is not None and offset is not None:
            offset[layer].copy_(offset[layer].float() + bias @ branch[layer].float())
            branch[layer].mul_(gain[:, None].to(branch.dtype))
    for norm in (weights.ln1_w, weights.ln2_w):
        norm[layer].fill_(1)
    for norm in (weights.ln1_b, weights.ln2_b):
        norm[layer].fill_(0)


def _fold_final_norm(weights: Weights) -> None:
    gain, bias = weights.ln_final_w.float(), weights.ln_final_b.float()
    step = max(1, AT_ONCE // weights.architecture.d_model)
    for columns, own in zip(weights.W_U.split(step, dim=1), weights.b_U.split(step), strict=True):
        own.add_(bias @ columns.float())
        columns.mul_(gain[:, None])
    weights.ln_final_w.fill_(1)
    weights.ln_final_b.fill_(0)


def _fold_value_biases(weights: Weights, layer: int) -> None:
    """Value biases into the output bias: a query's attention adds up to one, so each is written in full."""
    values = weights.b_V[layer].float().repeat_interleave(weights.architecture.group_size, dim=0)
    written = torch.einsum("he,hed->d", values, weights.W_O[layer].float())
    weights.b_O[layer].copy_(weights.b_O[layer].float() + written)
    weights.b_V[layer].fill_(0)


def _refactor(weights: Weights, layer: int) -> None:
    """Each head's two products, split anew by their singular vectors: evenly of queries and keys; of values and
    outputs, all the scale to the outputs."""
    augmented = [
        torch.cat([weight[layer], own[layer][:, None]], dim=1).double()  # a bias reads a one
        for weight, own in ((weights.W_Q, weights.b_Q), (weights.W_K, weights.b_K))
    ]
    left, scale, right = _factored(augmented[0], augmented[1].mT)
    root = scale.sqrt()[:, None]
    for (weight, own), new in zip(
        ((weights.W_Q, weights.b_Q), (weights.W_K, weights.b_K)), (left * root, right.mT * root), strict=True
    ):
        weight[layer].copy_(new[:, :-1])
        own[layer].copy_(new[:, -1])
    left, scale, right = _factored(weights.W_V[layer].double(), weights.W_O[layer].double())
    weights.W_V[layer].copy_(left)
    weights.W_O[layer].copy_(scale[..., None] * right)


def _factored(
    one: Float[Tensor, "heads rows inner"], other: Float[Tensor, "heads inner columns"]
) -> tuple[Float[Tensor, "heads rows inner"], Float[Tensor, "heads inner"], Float[Tensor, "heads inner columns"]]:
    """Singular vectors and values of a product of two thin matrices."""
    q_one, r_one = torch.linalg.qr(one)
    q_other, r_other = torch.linalg.qr(other.mT)
    u, s, vh = torch.linalg.svd(r_one @ r_other.mT)
    return q_one @ u, s, vh @ q_other.mT
