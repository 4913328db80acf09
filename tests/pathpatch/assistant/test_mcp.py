"""`pathpatch mcp` with the MCP SDK's own client: over standard input and over HTTP, on a real stack."""

import asyncio
import base64
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import httpx2
import pytest
import yaml
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from pathpatch.local import Stack
from pathpatch.presets import PRESETS, preset
from tests.embedded_valkey import EmbeddedValkey, free_port
from tests.live_service import live_service

pytestmark = pytest.mark.integration

ADMIN = "admin-secret-of-the-operator-0123456789"


def spec(**changes: Any) -> dict[str, Any]:
    """The founding experiment on few prompts."""
    found: dict[str, Any] = yaml.safe_load(preset("ioi-heads"))
    found["dataset"]["examples"] = 8
    return {**found, **changes}


def over_stdio(url: str, **environment: str) -> Client:
    """An assistant that starts the server itself."""
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "pathpatch.cli", "mcp", "--url", url],
        env={"PYTHONPATH": os.environ.get("PYTHONPATH", ""), **environment},
    )  # fmt: skip
    return Client(parameters, read_timeout_seconds=120)


async def told(client: Client, tool: str, **arguments: Any) -> str:
    """The text that a tool answers, which must not be an error."""
    answer = await client.call_tool(tool, arguments)
    assert not answer.is_error, answer.content
    (content,) = answer.content
    return content.text


async def refusal(client: Client, tool: str, **arguments: Any) -> str:
    """The text of an error."""
    answer = await client.call_tool(tool, arguments)
    assert answer.is_error
    return " ".join(content.text for content in answer.content)


def test_an_assistant_runs_an_experiment(stack: Stack) -> None:
    """From the list of models to a picture, each answer short enough to read."""

    async def experiment() -> None:
        async with over_stdio(stack.url) as client:
            assert "senders to receivers" in client.instructions
            assert "demo, 4 layers of 8 heads" in await told(client, "list_models")
            start = yaml.safe_load(await told(client, "starting_spec", name="ioi-heads"))
            start["dataset"]["examples"] = 8
            report = await told(client, "validate", spec=start)
            assert "The spec is valid" in report and "IO = ' " in report
            job = (await told(client, "submit", spec=start | {"name": "asked by an assistant"})).split()[0]
            assert "succeeded" in await told(client, "wait", job=job) or "cached" in await told(client, "wait", job=job)
            summary = await told(client, "summarise", job=job)
            assert summary.startswith("asked by an assistant\n") and "patched" in summary
            assert len(summary) < 2400
            (picture,) = (await client.call_tool("figure", {"job": job})).content
            assert picture.mime_type == "image/png"
            assert base64.b64decode(picture.data).startswith(b"\x89PNG")
            again = await told(client, "rerun", job=job, changes={"dataset": {"seed": 4}, "name": "once more"})
            assert "once more" in again and again.split()[0] != job
            assert job in await told(client, "list_jobs", name="by an assistant")

    asyncio.run(experiment())


def test_many_metrics_are_cut_and_told_one_by_one(stack: Stack) -> None:
    """An assistant pays for each word it reads."""
    metrics = [{"kind": "attention", "query": "end", "key": key, "head": {"layer": layer, "head": head}}
               for key in ("IO", "S1") for layer in (2, 3) for head in range(4)]  # fmt: skip

    async def experiment() -> None:
        async with over_stdio(stack.url) as client:
            asked = {name: value for name, value in spec(metrics=metrics).items() if name != "metric"}
            job = (await told(client, "submit", spec=asked)).split()[0]
            await told(client, "wait", job=job)
            whole = await told(client, "summarise", job=job)
            assert len(whole) < 2400 and "ask for one of the 16 metrics" in whole
            one = await told(client, "summarise", job=job, metric=15)
            assert "S1, head 3.3 (probability)" in one and "S1, head 3.2 (probability)" not in one
            assert "no metric 'nonsense'" in await refusal(client, "summarise", job=job, metric="nonsense")

    asyncio.run(experiment())


def test_errors_are_answers_that_say_what_to_change(stack: Stack) -> None:
    """A field at fault, a job that is not there, a preset of no name; and the server goes on."""

    async def experiment() -> None:
        async with over_stdio(stack.url) as client:
            wrong = spec(patch={"senders": [{"hook": "z", "layer": 9, "head": 0}], "receivers": [{"hook": "embed"}]})
            assert "/patch/receivers/0/hook" in await refusal(client, "submit", spec=wrong)
            assert "unknown_job" in await refusal(client, "wait", job="job_" + "0" * 26)
            assert "choose one of founding-experiment" in await refusal(client, "starting_spec", name="nonsense")
            assert "demo" in await told(client, "list_models")

    asyncio.run(experiment())


def test_waiting_ends_with_the_state_and_a_job_can_be_cancelled(stack: Stack) -> None:
    """A tool that waits for ever would hold the assistant up."""
    long = spec(use_cache=False)
    long["dataset"]["examples"] = 4000

    async def experiment() -> None:
        async with over_stdio(stack.url) as client:
            job = (await told(client, "submit", spec=long)).split()[0]
            state = await told(client, "wait", job=job, timeout_s=0.2)
            assert "queued" in state or "running" in state
            assert "still" in await refusal(client, "summarise", job=job)
            assert "cancel" in await told(client, "cancel", job=job)
            assert "cancelled" in await told(client, "wait", job=job)

    asyncio.run(experiment())


def test_the_tools_say_what_they_do(stack: Stack) -> None:
    """Every tool has a description; those that read are marked; the presets are all named."""

    async def tools() -> dict[str, Any]:
        async with over_stdio(stack.url) as client:
            return {tool.name: tool for tool in (await client.list_tools()).tools}

    found = asyncio.run(tools())
    assert all(tool.description for tool in found.values())
    assert all(name in found["starting_spec"].description for name in PRESETS)
    reading = {name for name, tool in found.items() if tool.annotations.read_only_hint}
    assert reading == set(found) - {"submit", "rerun", "cancel"}
    assert "context" not in found["submit"].input_schema["properties"]


@contextmanager
def served_over_http(url: str, **environment: str) -> Iterator[str]:
    """The server for several assistants, in a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "pathpatch.cli", "mcp", "--http", "--port", str(port), "--url", url]
    with subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + 30
            while not _listens(port):
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            process.terminate()
            process.communicate(timeout=15)


def _listens(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/")
    except httpx.TransportError:
        return False
    return True


def test_over_http_each_request_acts_with_its_own_key(valkey: EmbeddedValkey, tmp_path: Any) -> None:
    """The key of the server's own process is nobody's: whoever brings none is refused as by the service."""

    async def models(url: str, key: str | None) -> Any:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            return await client.call_tool("list_models", {})

    with live_service(valkey, tmp_path / "service.log", admin_key=ADMIN) as service:
        with served_over_http(service.url, PATHPATCH_API_KEY=ADMIN) as url:
            allowed = asyncio.run(models(url, ADMIN))
            assert not allowed.is_error and "demo" in allowed.content[0].text
            for key in (None, "pp_wrong"):
                refused = asyncio.run(models(url, key))
                assert refused.is_error and "unauthenticated" in refused.content[0].text

        async def over_own_input() -> str:
            async with over_stdio(service.url, PATHPATCH_API_KEY=ADMIN) as client:
                return await told(client, "list_models")

        assert "demo" in asyncio.run(over_own_input())
