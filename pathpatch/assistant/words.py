"""What tools answer: few words, since an assistant reads all of them."""

from api_schemas.jobs import Job, ValidationReport
from api_schemas.models import ModelInfo
from pathpatch.progress import words
from pathpatch.results import Result
from pathpatch.results.tables import to_text
from pathpatch.specs.words import title_of

LONGEST_SUMMARY = 2000
"""Characters, some 600 tokens."""
_SHOWN_TOKENS = 6
"""Of a set of answers."""


def model_line(model: ModelInfo) -> str:
    """One model of the service."""
    size = f", {model.shape.n_layers} layers of {model.shape.n_heads} heads" if model.shape else ""
    known = model.architecture
    if known is not None and known.n_kv_heads < known.n_heads:
        size += f" ({known.n_kv_heads} key-value heads: head on k and v counts these, query_head the others)"
    if known is not None and known.is_parallel:
        size += ", parallel blocks (no resid_mid)"
    why = "" if model.available else f" (not available: {(model.reason or '').partition('. ')[0]})"
    return f"{model.name}{size}{why}"


def job_line(job: Job) -> str:
    """One job: its state, and what it is called."""
    progress = f"{job.progress.done}/{job.progress.total} {job.progress.unit}s"
    why = f": {job.error.detail}" if job.error is not None else ""
    return f"{job.id} {words(job)} ({progress}) on {job.model}: {title_of(job.spec)}{why}"


def report_lines(report: ValidationReport) -> str:
    """What a spec would do."""
    grid = " x ".join(f"{axis} {size}" for axis, size in zip(report.axes, report.shape, strict=True)) or "one number"
    cost = "unknown" if report.estimated_seconds is None else f"about {report.estimated_seconds:.2g} s"
    lines = [f"The spec is valid: {title_of(report.spec)}", f"cells {report.cells} ({grid}), work {cost}"]
    if report.examples:
        first = report.examples[0]
        roles = ", ".join(f"{role} = {first.orig[place]!r} at {place}" for role, place in first.roles.items())
        lines += [f"orig: {''.join(first.orig)}", f"new: {''.join(first.new)}", f"roles: {roles or 'none'}"]
        answers = ", ".join(f"{name} = {_tokens(found)}" for name, found in first.answers.items())
        lines.append(f"answers: {answers or 'none'}")
    return "\n".join(lines + [f"warning: {warning}" for warning in report.warnings])


def _tokens(answer: str | list[str]) -> str:
    """A token, or a set of them; a long set by its beginning, its end and its size."""
    if isinstance(answer, str) or len(answer) <= _SHOWN_TOKENS:
        return repr(answer)
    return f"{answer[:3]!r} ... {answer[-1]!r} ({len(answer)} tokens)"


def summary(job: Job, result: Result) -> str:
    """A result in a few hundred tokens: each metric's statistics and its strongest cells."""
    text = f"{title_of(job.spec)}\n{to_text(result)}"
    if len(text) <= LONGEST_SUMMARY:
        return text
    beginning = text[:LONGEST_SUMMARY].rsplit("\n", 1)[0]
    return f"{beginning}\n(cut here; ask for one of the {len(result.blocks)} metrics by its number, from 0)"
