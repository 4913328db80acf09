"""What a job was when the service was last asked."""

from html import escape

from api_schemas.errors import Problem
from api_schemas.jobs import Job
from api_schemas.spec import JobSpec
from pathpatch.progress import text_bar


class JobRecord:
    """What a job was when the service was last asked."""

    def __init__(self, job: Job) -> None:
        self.job = job

    @property
    def id(self) -> str:
        """Identifier."""
        return self.job.id

    @property
    def status(self) -> str:
        """State when last asked: ``queued running cancelling succeeded failed cancelled expired``."""
        return self.job.status

    @property
    def done(self) -> bool:
        """Whether it had ended when last asked."""
        return self.job.done

    @property
    def spec(self) -> JobSpec:
        """The spec, defaults filled in."""
        return self.job.spec

    @property
    def error(self) -> Problem | None:
        """Why it failed."""
        return self.job.error

    def __repr__(self) -> str:
        return f"<{text_bar(self.job)}>"

    def _repr_html_(self) -> str:
        """The job for a notebook: its bar, what it asks, and why it failed."""
        from pathpatch.specs.words import title_of

        lines = [f"<strong>{escape(title_of(self.spec))}</strong>", f"<code>{escape(text_bar(self.job))}</code>"]
        lines += [escape(f"{self.error.title}: {self.error.detail}")] if self.error else []
        return f"<p>{'<br>'.join(lines)}</p>"
