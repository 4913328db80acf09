"""Datasets: the prompts of both runs, and the positions and tokens that have names."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from api_schemas.frozen import Count, Frozen

ExampleCount = Annotated[int, Field(ge=1, examples=[800])]
Seed = Annotated[int, Field(ge=0, lt=2**63, examples=[0])]
TokenId = Annotated[int, Field(ge=0)]
Prompt = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
PromptSet = Annotated[list[Prompt], Field(min_length=1)]
TokenSet = Annotated[list[TokenId], Field(min_length=1)]


class _Swappable(Frozen):
    swap: Annotated[bool, Field(examples=[False])] = False
    """Whether orig and new are exchanged: denoising instead of noising."""


class _Drawn(_Swappable):
    """A dataset that the service draws whole: its roles and answers have fixed names."""

    role_names: ClassVar[tuple[str, ...]]
    answer_names: ClassVar[tuple[str, ...]]


class IoiDataset(_Drawn):
    """Indirect-object prompts (Wang et al. 2022). Roles `IO S1 S1+1 S2 end`; answers `IO S`."""

    role_names = ("IO", "S1", "S1+1", "S2", "end")
    answer_names = ("IO", "S")

    kind: Literal["ioi"]
    """Always `ioi`."""
    examples: ExampleCount
    """Number of prompts."""
    seed: Seed = 0
    """The same seed gives the same prompts on every machine."""
    prompt_type: Annotated[Literal["mixed", "ABBA", "BABA"], Field(examples=["mixed"])] = "mixed"
    """Order of the names: IO first (`ABBA`), subject first (`BABA`), or half of each."""
    new: Annotated[Literal["abc", "swapped"], Field(examples=["abc"])] = "abc"
    """`abc`: every name replaced by an unrelated one; `swapped`: IO and S exchanged."""
    prepend_bos: Annotated[bool | None, Field(examples=[False])] = None
    """Whether each prompt starts with the tokenizer's beginning-of-text token; positions then count it. Absent: as the
    model's own tokenizer does, which is no for GPT-2, Pythia, Qwen and SmolLM2, and yes for Llama and Gemma."""


class GreaterThanDataset(_Drawn):
    """Years that must be larger (Hanna et al. 2023): `The war lasted from the year 1732 to the year 17`; in `new` the
    start year ends in 01. Roles `YY end`; answers `after not_after`, sets of the two-digit tokens."""

    role_names = ("YY", "end")
    answer_names = ("after", "not_after")

    kind: Literal["greater_than"]
    """Always `greater_than`."""
    examples: ExampleCount
    """Number of prompts."""
    seed: Seed = 0
    """The same seed gives the same prompts on every machine."""
    prepend_bos: Annotated[bool | None, Field(examples=[False])] = None
    """Whether each prompt starts with the tokenizer's beginning-of-text token; positions then count it. Absent: as the
    model's own tokenizer does, which is no for GPT-2, Pythia, Qwen and SmolLM2, and yes for Llama and Gemma."""


class InductionDataset(_Drawn):
    """Random tokens that repeat (Olsson et al. 2022), `[A][B] … [A]`, to be continued by `[B]`. Roles `A1 B1 end`;
    answers `B`, and `other`, a token of neither run."""

    role_names = ("A1", "B1", "end")
    answer_names = ("B", "other")

    kind: Literal["induction"]
    """Always `induction`."""
    examples: ExampleCount
    """Number of prompts."""
    length: Annotated[int, Field(ge=2, le=100_000, examples=[25])] = 25
    """Different tokens of the first half; the second repeats them up to the last but one, which is A."""
    seed: Seed = 0
    """The same seed gives the same prompts on every machine."""
    new: Annotated[Literal["half", "token"], Field(examples=["half"])] = "half"
    """`half`: the first half is other tokens, so that nothing repeats; `token`: only A in the first half is another."""
    prepend_bos: Annotated[bool | None, Field(examples=[False])] = None
    """Whether each prompt starts with the tokenizer's beginning-of-text token; positions then count it. Absent: as the
    model's own tokenizer does, which is no for GPT-2, Pythia, Qwen and SmolLM2, and yes for Llama and Gemma."""


class StringsInPrompts(Frozen):
    """A role given by its text: one string per example, of one token or several (the last token is the role)."""

    strings: Annotated[list[Prompt], Field(min_length=1, examples=[[" Mary", " John"]])]
    """One string per example, to be found in its orig prompt's tokens."""
    occurrence: Annotated[int | None, Field(examples=[1])] = None
    """Which occurrence: 0-based, or negative from the end. Absent: the string must occur exactly once."""


PromptRole = Annotated[list[int], Field(min_length=1)] | Annotated[list[Prompt], Field(min_length=1)] | StringsInPrompts
"""One position per example (negative from the end), one string per example, or strings with an occurrence."""


class PromptsDataset(_Swappable):
    """Prompts as text, tokenised by the service."""

    kind: Literal["prompts"]
    """Always `prompts`."""
    orig: Annotated[list[Prompt], Field(min_length=1, examples=[["When Mary and John went out, John thanked"]])]
    """Prompts of the run being patched."""
    new: Annotated[list[Prompt], Field(min_length=1, examples=[["When Anna and Paul went out, Mark thanked"]])]
    """Prompts of the run the patch comes from; each has as many tokens as its orig prompt."""
    roles: Annotated[dict[Name, PromptRole], Field(examples=[{"end": [7]}])] = {}
    """Named positions: a list of positions (negative from the end) or of strings, one per example, or `strings` with an
    `occurrence`."""
    answers: Annotated[
        dict[Name, list[Prompt] | list[TokenId] | list[PromptSet] | list[TokenSet]],
        Field(examples=[{"IO": [" Mary"]}, {"after": [["33", "34"]], "before": [["31", "32"]]}]),
    ] = {}
    """Named answers: per example one single-token string, or one token id, or a list of either, which is a set."""
    prepend_bos: Annotated[bool | None, Field(examples=[False])] = None
    """Whether each prompt starts with the tokenizer's beginning-of-text token; positions then count it. Absent: as the
    model's own tokenizer does, which is no for GPT-2, Pythia, Qwen and SmolLM2, and yes for Llama and Gemma."""


class TokensDataset(_Swappable):
    """Prompts as token ids."""

    kind: Literal["tokens"]
    """Always `tokens`."""
    orig: Annotated[list[Annotated[list[TokenId], Field(min_length=1)]], Field(min_length=1, examples=[[[5, 9, 2]]])]
    """Token ids of the run being patched."""
    new: Annotated[list[Annotated[list[TokenId], Field(min_length=1)]], Field(min_length=1, examples=[[[6, 9, 2]]])]
    """Token ids of the run the patch comes from; each prompt is as long as its orig prompt."""
    roles: Annotated[dict[Name, list[int]], Field(examples=[{"end": [-1]}])] = {}
    """Named positions: one per example, negative from the end."""
    answers: Annotated[dict[Name, list[TokenId] | list[TokenSet]], Field(examples=[{"IO": [5]}])] = {}
    """Named answers: one token id per example, or a list of them, which is a set."""


class SlotOccurrence(Frozen):
    """A role at one occurrence of a slot in the template."""

    slot: Annotated[Name, Field(examples=["B"])]
    """Name of the slot."""
    occurrence: Annotated[int, Field(examples=[1])] = 0
    """Which occurrence of the slot: 0-based, or negative from the end."""
    offset: Annotated[int, Field(examples=[0])] = 0
    """Added to the position of the slot's last token."""


class SetsBySlot(Frozen):
    """An answer that is a set: the list that belongs to another slot's filler."""

    slot: Annotated[Name, Field(examples=["AFTER"])]
    """A slot of lists."""
    by: Annotated[Name, Field(examples=["YY"])]
    """The slot whose orig filler chooses the list: its first filler the first list, and so on."""


class TemplatesDataset(_Swappable):
    """Prompts drawn from templates with slots; reproduces a published dataset from its own lists."""

    kind: Literal["templates"]
    """Always `templates`."""
    templates: Annotated[
        list[Prompt], Field(min_length=1, examples=[["When [A] and [B] went to the [PLACE], [B] gave a [OBJECT] to"]])
    ]
    """Templates; a slot is a name in brackets."""
    slots: Annotated[
        dict[Name, Annotated[list[Prompt] | list[PromptSet], Field(min_length=1)]],
        Field(examples=[{"A": ["Mary", "Tom"]}]),
    ]
    """Fillers of each slot. Slots that share a list of fillers get different fillers. A slot of lists stands in no
    template: each list is a set of answers, written as the tokens are, usually with a leading space."""
    new: Annotated[dict[Name, Literal["redraw"] | Name], Field(min_length=1, examples=[{"A": "redraw", "B": "redraw"}])]
    """How `new` differs: `redraw` draws a filler that neither run uses; a slot's name takes that slot's filler."""
    roles: Annotated[
        dict[Name, Name | SlotOccurrence | Annotated[int, Field()]],
        Field(examples=[{"IO": "A", "S2": {"slot": "B", "occurrence": 1}, "end": -1}]),
    ] = {}
    """Named positions: a slot (its first occurrence), another occurrence, or a position (negative from the end)."""
    answers: Annotated[dict[Name, Name | SetsBySlot], Field(examples=[{"IO": "A", "S": "B"}])] = {}
    """Named answers: the slot whose orig filler, with a leading space, is the answer token; or a set: a slot with
    one list, or `{"slot": "AFTER", "by": "YY"}`, whose lists belong to the fillers of `by`."""
    examples: ExampleCount
    """Number of prompts."""
    seed: Seed = 0
    """The same seed gives the same prompts on every machine."""
    prepend_bos: Annotated[bool | None, Field(examples=[False])] = None
    """Whether each prompt starts with the tokenizer's beginning-of-text token; positions then count it. Absent: as the
    model's own tokenizer does, which is no for GPT-2, Pythia, Qwen and SmolLM2, and yes for Llama and Gemma."""

    @property
    def fillers(self) -> dict[str, list[str]]:
        """Slots whose fillers stand in templates."""
        return {slot: own for slot, own in self.slots.items() if isinstance(own[0], str)}

    @property
    def sets(self) -> dict[str, list[list[str]]]:
        """Slots of lists."""
        return {slot: own for slot, own in self.slots.items() if isinstance(own[0], list)}

    @property
    def single_answers(self) -> dict[str, str]:
        """Answers that are one filler each."""
        sets = self.sets
        return {answer: slot for answer, slot in self.answers.items() if isinstance(slot, str) and slot not in sets}

    @property
    def set_answers(self) -> dict[str, SetsBySlot]:
        """Answers that are sets; of a slot with one list, `by` is empty."""
        single = self.single_answers
        named = {answer: slot for answer, slot in self.answers.items() if answer not in single}
        return {
            answer: SetsBySlot.model_construct(slot=slot, by="") if isinstance(slot, str) else slot
            for answer, slot in named.items()
        }


DRAWN_DATASETS = (IoiDataset, GreaterThanDataset, InductionDataset)
Dataset = Annotated[
    IoiDataset | GreaterThanDataset | InductionDataset | PromptsDataset | TokensDataset | TemplatesDataset,
    Field(discriminator="kind"),
]

AnswerTokens = list[int] | list[list[int]]
"""One token id per example, or a set of them."""


def token_sets(answer: AnswerTokens) -> list[list[int]]:
    """Each example's tokens, a single one as a set of one."""
    return [[ids] if isinstance(ids, int) else ids for ids in answer]


class ResolvedDataset(Frozen):
    """A dataset as workers receive it: integers only, without padding, with `swap` already applied."""

    orig: Annotated[list[list[int]], Field(examples=[[[5, 9, 2]]])]
    """Token ids per example, unpadded."""
    new: Annotated[list[list[int]], Field(examples=[[[6, 9, 2]]])]
    """Token ids per example, each as long as its orig prompt."""
    roles: Annotated[dict[str, list[int]], Field(examples=[{"end": [2]}])]
    """One position per example."""
    answers: Annotated[dict[str, AnswerTokens], Field(examples=[{"IO": [5]}])]
    """One token id per example, or a set of them."""
    start: Count = 0
    """Index in the whole dataset of the first example (a shard is a slice of the dataset)."""

    def __len__(self) -> int:
        return len(self.orig)

    def slice(self, start: int, stop: int) -> "ResolvedDataset":
        """Examples ``start`` to ``stop - 1``."""
        return ResolvedDataset(
            orig=self.orig[start:stop],
            new=self.new[start:stop],
            roles={role: places[start:stop] for role, places in self.roles.items()},
            answers={answer: ids[start:stop] for answer, ids in self.answers.items()},
            start=self.start + start,
        )

    @property
    def tokens(self) -> int:
        """Tokens of both runs."""
        return 2 * sum(map(len, self.orig))

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return max(map(len, self.orig))


class ShardInput(ResolvedDataset):
    """What a shard computes: some examples of the dataset, and all cells of the grid or some."""

    cells: Annotated[tuple[tuple[int, int], tuple[int, int]] | None, Field(examples=[((0, 8), (0, 1))])] = None
    """First and last plus one of the sender cells, then of the receiver cells; absent for all."""


def default_kind(kind: str) -> Any:
    """A before-validator that fills in the default kind of a discriminated union."""
    return lambda data: {"kind": kind, **data} if isinstance(data, dict) else data
