"""Metrics: the number read from each patched run."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from api_schemas.errors import Misfit
from api_schemas.frozen import Frozen
from api_schemas.nodes import Index, PromptPosition

AnswerName = Annotated[str, Field(min_length=1, max_length=64, examples=["IO"])]
Normalize = Literal["none", "noising", "denoising"]


class Head(Frozen):
    """One attention head, 0-based."""

    layer: Annotated[Index, Field(examples=[10])]
    """Layer."""
    head: Annotated[Index, Field(examples=[7])]
    """Head."""


class _Metric(Frozen):
    unit: ClassVar[str]
    """Unit of the metric before normalisation."""
    reads_all_logits: ClassVar[bool] = False
    """Whether it needs the logits of the whole vocabulary, which costs more."""
    is_flat_at_orig: ClassVar[bool] = False
    """Whether its gradient at orig is 0, so that every estimate is 0."""
    has_gradient: ClassVar[bool] = True
    """Whether estimates from a gradient are taken at all."""

    normalize: Annotated[Normalize, Field(examples=["none"])] = "none"
    """`noising`: (patched - orig) / (orig - new); `denoising`: (patched - orig) / (new - orig). Here patched is one
    example's value, orig and new are means over the dataset."""

    @property
    def words(self) -> str:
        """The metric in words, without position, head and normalisation."""
        answer = getattr(self, "answer", None)
        return self.kind.replace("_", " ") + (f" of {answer}" if answer else "")  # type: ignore[attr-defined, no-any-return]


class Attention(_Metric):
    """Attention probability of a head from `query` to `key`."""

    unit = "probability"

    kind: Literal["attention"]
    """Always `attention`."""
    query: Annotated[PromptPosition, Field(examples=["end"])]
    """Where the head looks from: a role, or a position from 0, or negative from the end."""
    key: Annotated[PromptPosition, Field(examples=["IO"])]
    """Where it looks: a role, or a position from 0, or negative from the end."""
    head: Head | None = None
    """The head; by default the receivers' head, or in a sweep of receivers each cell's own."""

    @property
    def words(self) -> str:
        """Query and key."""
        return f"attention {self.query} → {self.key}"


class AttentionDiff(_Metric):
    """Attention from `query` to `key` minus attention from `query` to `minus_key`."""

    unit = "probability"

    kind: Literal["attention_diff"]
    """Always `attention_diff`."""
    query: Annotated[PromptPosition, Field(examples=["end"])]
    """Where the head looks from: a role, or a position from 0, or negative from the end."""
    key: Annotated[PromptPosition, Field(examples=["IO"])]
    """Where it looks, counted positive: a role, or a position from 0, or negative from the end."""
    minus_key: Annotated[PromptPosition, Field(examples=["S1"])]
    """Where it looks, counted negative: a role, or a position from 0, or negative from the end."""
    head: Head | None = None
    """The head; by default the receivers' head, or in a sweep of receivers each cell's own."""

    @property
    def words(self) -> str:
        """Query and both keys."""
        return f"attention {self.query} → {self.key} minus {self.query} → {self.minus_key}"


class LogitDiff(_Metric):
    """Logit of one answer minus logit of another; of a set of tokens the mean."""

    unit = "nats"

    kind: Literal["logit_diff"]
    """Always `logit_diff`."""
    answer: AnswerName
    """Answer counted positive."""
    minus_answer: AnswerName
    """Answer counted negative."""
    position: Annotated[PromptPosition, Field(examples=["end"])] = "end"
    """Where the logits are read: a role, or a position from 0, or negative from the end."""

    @property
    def words(self) -> str:
        """Both answers."""
        return f"logit {self.answer} minus {self.minus_answer}"


class Logit(_Metric):
    """Logit of one answer, of a set of tokens the mean; from the centred unembedding if weights were processed so."""

    unit = "nats"

    kind: Literal["logit"]
    """Always `logit`."""
    answer: AnswerName
    """The answer."""
    position: Annotated[PromptPosition, Field(examples=["end"])] = "end"
    """Where the logit is read: a role, or a position from 0, or negative from the end."""


class Prob(_Metric):
    """Probability of one answer, of a set of tokens the sum."""

    unit = "probability"
    reads_all_logits = True

    kind: Literal["prob"]
    """Always `prob`."""
    answer: AnswerName
    """The answer."""
    position: Annotated[PromptPosition, Field(examples=["end"])] = "end"
    """Where the probability is read: a role, or a position from 0, or negative from the end."""


class ProbDiff(_Metric):
    """Probability of one answer minus that of another, of sets of tokens the sums."""

    unit = "probability"
    reads_all_logits = True

    kind: Literal["prob_diff"]
    """Always `prob_diff`."""
    answer: AnswerName
    """Answer counted positive."""
    minus_answer: AnswerName
    """Answer counted negative."""
    position: Annotated[PromptPosition, Field(examples=["end"])] = "end"
    """Where the probabilities are read: a role, or a position from 0, or negative from the end."""

    @property
    def words(self) -> str:
        """Both answers."""
        return f"prob {self.answer} minus {self.minus_answer}"


class LogProb(_Metric):
    """Log-probability of one answer, in nats; of a set of tokens the log of their sum."""

    unit = "nats"
    reads_all_logits = True

    kind: Literal["log_prob"]
    """Always `log_prob`."""
    answer: AnswerName
    """The answer."""
    position: Annotated[PromptPosition, Field(examples=["end"])] = "end"
    """Where the log-probability is read: a role, or a position from 0, or negative from the end."""


class Accuracy(_Metric):
    """1 where no token has a larger logit than the answer, or the best token of a set, and 0 elsewhere."""

    unit = "share of examples"
    reads_all_logits = True
    has_gradient = False

    kind: Literal["accuracy"]
    """Always `accuracy`."""
    answer: AnswerName
    """The answer that counts as right."""
    position: Annotated[PromptPosition, Field(examples=["end"])] = "end"
    """Where the top token is read: a role, or a position from 0, or negative from the end."""


class Rank(_Metric):
    """How many tokens have a larger logit than the answer, or the best token of a set; 0: it is the top token."""

    unit = "places"
    reads_all_logits = True
    is_flat_at_orig = True

    kind: Literal["rank"]
    """Always `rank`."""
    answer: AnswerName
    """The answer."""
    position: Annotated[PromptPosition, Field(examples=["end"])] = "end"
    """Where the rank is read: a role, or a position from 0, or negative from the end."""


class Kl(_Metric):
    """KL(patched || orig) of the next-token distributions, in nats; 0 means that nothing changed."""

    unit = "nats"
    reads_all_logits = True
    is_flat_at_orig = True

    kind: Literal["kl"]
    """Always `kl`."""
    position: Annotated[PromptPosition, Field(examples=["end"])] = "end"
    """Where the distributions are read: a role, or a position from 0, or negative from the end."""

    @property
    def words(self) -> str:
        """The run that it compares with."""
        return "KL from orig"


class Js(_Metric):
    """Jensen-Shannon divergence of patched and orig's next-token distributions, in nats: 0 to log 2."""

    unit = "nats"
    reads_all_logits = True
    is_flat_at_orig = True

    kind: Literal["js"]
    """Always `js`."""
    position: Annotated[PromptPosition, Field(examples=["end"])] = "end"
    """Where the distributions are read: a role, or a position from 0, or negative from the end."""

    @property
    def words(self) -> str:
        """The run that it compares with."""
        return "JS divergence from orig"


class Loss(_Metric):
    """Next-token cross-entropy in nats, mean over an example's predicted positions."""

    unit = "nats"
    reads_all_logits = True

    kind: Literal["loss"]
    """Always `loss`."""

    @model_validator(mode="after")
    def _is_not_normalised(self) -> "Loss":
        if self.normalize != "none":
            why = "the two clean runs are scored on tokens of their own, so that they are no scale for the patched run"
            raise Misfit((("normalize",), f"metric 'loss' takes normalize 'none' only, not {self.normalize!r}: {why}"))
        return self


Metric = Annotated[
    Attention | AttentionDiff | LogitDiff | Logit | Prob | ProbDiff | LogProb | Accuracy | Rank | Kl | Js | Loss,
    Field(discriminator="kind"),
]
ATTENTION_METRICS = (Attention, AttentionDiff)
TWO_ANSWERS = (LogitDiff, ProbDiff)
NO_ANSWER = (Kl, Js, Loss)
NORMALIZED_UNIT = "fraction"


def title_of(metric: Metric) -> str:
    """The metric in words, different for different metrics: `attention end → IO, head 10.7`."""
    position = getattr(metric, "position", "end")
    parts = [metric.words + ("" if position == "end" else f" at {position}")]
    if isinstance(metric, ATTENTION_METRICS):
        parts.append(f"head {metric.head.layer}.{metric.head.head}" if metric.head else "each receiver's head")
    return ", ".join(parts + ([] if metric.normalize == "none" else [metric.normalize]))
