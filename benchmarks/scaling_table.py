"""The *Scaling* tables of docs/performance.md, from the figures of ``python -m benchmarks.scaling --json FILE``.

Run: ``python -m benchmarks.scaling_table FILE``: it writes them between their markers.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.page import write_table


def rows(header: list[str], lines: list[list[Any]]) -> str:
    """A Markdown table."""
    every = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in every)


def workers(found: dict[str, Any]) -> str:
    """One job on more workers."""
    real = found["real_cores"]
    lines = []
    for number in (1, 2):
        row = real[f"{number}_workers"]
        one = real["1_workers"]
        both = f"{one['seconds'] / row['seconds'] / number:.2f} ({one['processor_s'] / row['processor_s']:.2f} \\*)"
        lines.append([f"{number}, real, one thread each", real["shards"], row["seconds"], both, "", ""])
    for devices, row in sorted(found["simulated_devices"].items(), key=lambda item: int(item[0])):
        shares = [f"{100 * row[f'{name}_cpu_share']:.1f} %" for name in ("broker", "service")]
        lines.append([f"{devices}, simulated", row["shards"], row["seconds"], f"{row['efficiency']:.2f}", *shares])
    header = ["devices", "shards of the job", "seconds", "efficiency", "broker, of one core", "service, of one core"]
    return rows(header, lines)


def queue(found: dict[str, Any]) -> str:
    """Latency beside long queues."""
    lines = []
    for depth in ("0", "1000", "10000"):
        row = found["long_queue"][depth]
        cells = [f"{row[what]['p50_ms']:.1f} / {row[what]['p99_ms']:.1f}" for what in ("submit", "poll", "list")]
        lines.append([f"{int(depth):,} queued jobs", *cells])
    many = found["long_queue"]["job_of_1000_shards"]
    poll = f"{many['poll']['p50_ms']:.1f} / {many['poll']['p99_ms']:.1f}"
    submit = f"{1000 * max(many['submit_s']):.0f} (10 000 prompts)"
    lines.append(["a job of 1000 shards, beside them", submit, poll, ""])
    return rows(["", "submit, ms p50 / p99", "poll", "list"], lines)


def result(found: dict[str, Any]) -> str:
    """Fetching a result at the limit."""
    lines = [
        [f"`{form}`", row["mib"], row["seconds"], f"{1000 * row['slowest_poll_s']:.0f}"]
        for form, row in found["large_result"]["fetched"].items()
    ]
    return rows(["form", "MiB", "seconds", "slowest poll meanwhile, ms"], lines)


def cost(found: dict[str, Any]) -> str:
    """What the store's server spends."""
    micro = found["store_cost"]["microseconds"]
    return rows(["step", "server time, µs"], [[name, f"{value:.0f}"] for name, value in micro.items()])


def added_by_a_device(found: dict[str, Any], process: str) -> float:
    """Share of one core that each further simulated device took of a process."""
    counts = sorted(found["simulated_devices"], key=int)
    fewest, most = (found["simulated_devices"][count][f"{process}_cpu_share"] for count in (counts[0], counts[-1]))
    return float((most - fewest) / (int(counts[-1]) - int(counts[0])))


def outlook(found: dict[str, Any]) -> str:
    """What saturates on the way to a thousand devices."""
    store, shard_s = found["store_cost"], found["shard_s"]
    broker, service = (added_by_a_device(found, process) for process in ("broker", "service"))
    per_job = store["microseconds"]["create a job"]
    steps = store["share_of_one_server_thread_by_devices"]["1000"]
    lines = [
        ["broker: one thread of Valkey", f"{100 * 1000 * broker:.0f} %", f"{1 / broker:,.0f} devices"],
        ["service: progress of running shards", f"{100 * 1000 * service:.0f} %", f"{1 / service:,.0f} devices"],
        ["one job's shards", "one each", "1000 devices (`PATHPATCH_MAX_SHARDS`)"],
    ]
    return f"""
With shards of {shard_s:g} s, from the run above:

{rows(["part", "at 1000 devices", "full at"], lines)}

By its steps alone (next table) the broker would spend {100 * steps:.0f} %; the rest is Celery's polling and two
cores shared by everything. Creating a job costs it {per_job:.0f} µs, so it is not what limits short jobs.
**The service fills up first when jobs are short**: one process accepts some hundreds of small jobs per second
(*Service*, above), which 1000 GPUs outrun as soon as a job takes less than a few seconds of one GPU. It keeps no
state, so more processes behind a proxy share that work, and a batch is one request. Next is the broker's thread
(one broker per group of models divides it), then one job's thousand shards.

{cost(found)}
"""


def page(found: dict[str, Any]) -> str:
    """All tables, with what to read in them."""
    large, lost = found["large_result"], found["recovery"]
    peak, before = large["resident_mib_peak"], large["resident_mib_before"]
    queued = found["long_queue"]
    machine = found["machine"]
    return f"""
*{machine["cores"]} cores of {machine["cpu"]}, Python {machine["python"]}.*

**One job on more devices.** Simulated devices are real worker processes whose shards also sleep {found["shard_s"]:g} s,
all on these cores; efficiency is against shards that cost the sleep and nothing else.

{workers(found)}

\\* in processor time, what the job cost on one worker over what it cost on two: other programs ran on these cores.

**Long queues.** 50 requests of each kind per second. With {queued["broker_mib"]:.0f} MiB in the broker and
{queued["service_mib"]} MiB in the service for 10 000 queued jobs.

{queue(found)}

**A result of {large["numbers"]:,} numbers**, by estimate at the limit of 64 MiB of JSON;
{large["stored_mib"]:.0f} MiB stored. Peak memory: service {peak["service"]} MiB (before: {before["service"]}), worker
{peak["worker"]} MiB (before: {before["worker"]}), broker {large["broker_mib_peak"]} MiB.

{result(found)}

**A lost worker.** After `kill -9`, with default settings, another worker started on its shard within
{min(lost["seconds"])} to {max(lost["seconds"])} s (lease 10 s, reaper every 2 s).

### On the way to 1000 GPUs
{outlook(found)}"""


def main() -> None:
    """Write the tables into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="what benchmarks.scaling wrote with --json")
    found = json.loads(parser.parse_args().file.read_text())
    write_table("scaling", page(found).strip())


if __name__ == "__main__":
    main()
