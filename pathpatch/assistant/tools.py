"""The tools: each one call of the client, answered in a few hundred tokens."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import wraps
from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context, Image
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

from pathpatch.assistant.words import job_line, model_line, report_lines, summary
from pathpatch.client import AsyncClient
from pathpatch.presets import PRESETS, UnknownPreset, preset
from pathpatch.problems import PathPatchingError, WaitTimedOut
from pathpatch.results import Result

LONGEST_WAIT_S = 600.0
_READS = ToolAnnotations(read_only_hint=True)
_ERASES = ToolAnnotations(destructive_hint=True, idempotent_hint=True)

Spec = Annotated[dict[str, Any], Field(description="A spec, as POST /v1/jobs takes it; starting_spec gives examples.")]
JobId = Annotated[str, Field(description="A job's id, such as job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E.")]
Metric = Annotated[int | str, Field(description="Of several metrics, which one: its number from 0, kind or title.")]
Tool = Callable[..., Awaitable[Any]]


def _telling(tool: Tool) -> Tool:
    """The tool with the client's errors as its answer: they say what to change."""

    @wraps(tool)
    async def told(*arguments: Any, **named: Any) -> Any:
        try:
            return await tool(*arguments, **named)
        except (PathPatchingError, UnknownPreset, KeyError, IndexError) as exc:
            raise ToolError(str(exc)) from exc

    return told


class Tools:
    """Tools on one service, each call with its caller's key."""

    def __init__(self, url: str, api_key: str | None) -> None:
        self._url = url
        self._api_key = api_key

    def register(self, server: MCPServer[Any]) -> None:
        """Offer them."""
        reading: tuple[Tool, ...] = (
            self.list_models, self.starting_spec, self.validate, self.list_jobs, self.wait, self.summarise, self.figure,
        )  # fmt: skip
        kinds: list[tuple[Tool, ToolAnnotations]] = [(tool, _READS) for tool in reading]
        kinds += [(self.submit, ToolAnnotations()), (self.rerun, ToolAnnotations()), (self.cancel, _ERASES)]
        for tool, annotations in kinds:
            names = f" Names: {', '.join(PRESETS)}." if tool == self.starting_spec else ""
            described = server.tool(
                description=f"{tool.__doc__}{names}", annotations=annotations, structured_output=False
            )
            described(_telling(tool))

    def _client(self, context: Context[Any, Any]) -> AsyncClient:
        """A client with the key of whoever asks: over HTTP that of the request, else the one this process was given."""
        request = context.request_context.request
        if request is None:
            return AsyncClient(self._url, self._api_key)
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        return AsyncClient(self._url, key.strip() if scheme.lower() == "bearer" else None)

    async def list_models(self, context: Context[Any, Any]) -> str:
        """List the models that can be patched, with their layers and heads."""
        async with self._client(context) as client:
            return "\n".join(map(model_line, await client.models()))

    async def starting_spec(self, name: str, context: Context[Any, Any], model: str = "demo") -> str:
        """Give a commented spec in YAML to start from."""
        async with self._client(context) as client:
            known = await client.model(model)
        return preset(name, model, known.architecture or known.shape)

    async def validate(self, spec: Spec, context: Context[Any, Any]) -> str:
        """Say what a spec would do, without running it: prompts with roles and answers, cells, cost, warnings."""
        async with self._client(context) as client:
            return report_lines(await client.validate(spec))

    async def submit(self, spec: Spec, context: Context[Any, Any]) -> str:
        """Queue an experiment; returns its job at once. Then wait, and summarise."""
        async with self._client(context) as client:
            return job_line((await client.submit(spec)).job)

    async def rerun(self, job: JobId, changes: dict[str, Any], context: Context[Any, Any]) -> str:
        """Queue a job's experiment again with changes, a JSON merge patch such as {"dataset": {"seed": 4}}."""
        async with self._client(context) as client:
            return job_line((await client.rerun(job, changes)).job)

    async def list_jobs(self, context: Context[Any, Any], limit: int = 10, name: str | None = None) -> str:
        """List jobs and what each asks, newest first; name: a part of the spec's name."""
        async with self._client(context) as client:
            jobs = await client.jobs(limit=limit, name=name)
        return "\n".join(job_line(job.job) for job in jobs) or "There are no jobs."

    async def wait(
        self, job: JobId, context: Context[Any, Any],
        timeout_s: Annotated[float, Field(gt=0, le=LONGEST_WAIT_S)] = 50.0,
    ) -> str:  # fmt: skip
        """Wait until a job has ended, at most timeout_s seconds; says its state, ended or not."""
        async with self._client(context) as client:
            handle = await client.get(job)
            try:
                await handle.wait(progress=False, timeout_s=timeout_s)
            except WaitTimedOut:
                await handle.refresh()
            return job_line(handle.job)

    async def summarise(self, job: JobId, context: Context[Any, Any], metric: Metric | None = None) -> str:
        """Summarise a finished job's result: statistics and the strongest cells of each metric, or of one."""
        async with self._client(context) as client:
            handle = await client.get(job)
            result = await handle.result(progress=False, timeout_s=0.1)
        return summary(handle.job, result if metric is None else _only(result, metric))

    async def figure(
        self, job: JobId, context: Context[Any, Any],
        kind: Annotated[str | None, Field(description="histogram, scatter, heatmap, bars or graph.")] = None,
        metric: Metric = 0,
    ) -> Image:  # fmt: skip
        """Draw a finished job's result as a picture; by default of the kind that shows it best."""
        async with self._client(context) as client:
            png = await client.figure(job, "png", kind=kind, block=metric)
        return Image(data=png, format="png")

    async def cancel(self, job: JobId, context: Context[Any, Any]) -> str:
        """Cancel a job that is queued or running."""
        async with self._client(context) as client:
            return job_line(await client.cancel(job))


def _only(result: Result, metric: int | str) -> Result:
    """The result with one of its metrics."""
    return replace(result, blocks=(result[metric],))
