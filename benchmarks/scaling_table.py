"""The *Scaling* tables of docs/performance.md, from the figures of ``python -m benchmarks.scaling --json FILE``.

Run: ``python -m benchmarks.scaling_table FILE``: it writes them between their markers.
"""

import json
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- begin benchmarks/scaling.json -->", "<!-- end -->"


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
        efficiency = real["1_workers"]["processor_s"] / row["processor_s"]
        lines.append(
            [f"{number}, real, one thread each", real["shards"], row["seconds"], f"{efficiency:.2f} *", "", ""]
        )
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


def page(found: dict[str, Any]) -> str:
    """All tables, with what to read in them."""
    large, store, lost = found["large_result"], found["store_cost"], found["recovery"]
    peak, before = large["resident_mib_peak"], large["resident_mib_before"]
    queued = found["long_queue"]
    share = store["share_of_one_server_thread_by_devices"]["1000"]
    machine = found["machine"]
    return f"""
*{machine["cores"]} cores of {machine["cpu"]}, Python {machine["python"]}.*

**One job on more devices.** Simulated devices are real worker processes whose shards also sleep {found["shard_s"]:g} s,
all on these cores; efficiency is against shards that cost the sleep and nothing else.

{workers(found)}

\\* in processor time: what the job cost on one worker over what it cost on so many.

**Long queues.** 50 requests of each kind per second. With {queued["broker_mib"]:.0f} MiB in the broker and
{queued["service_mib"]} MiB in the service for 10 000 queued jobs.

{queue(found)}

**A result of {large["stored_mib"]:.0f} MiB** ({large["numbers"]:,} numbers), at the limit of 64 MiB of JSON. Peak
memory: service {peak["service"]} MiB (before: {before["service"]}), worker {peak["worker"]} MiB (before:
{before["worker"]}), broker {large["broker_mib_peak"]} MiB.

{result(found)}

**A lost worker.** After `kill -9`, with default settings, another worker started on its shard within
{min(lost["seconds"])} to {max(lost["seconds"])} s (lease 10 s, reaper every 2 s).

**What the broker spends.** Per shard {store["microseconds_per_shard"]} µs of one thread, heartbeats included
{store["microseconds_per_device_and_second"]} µs per device and second: 1000 devices take {100 * share:.0f} % of it.

{cost(found)}
"""


def main() -> None:
    """Write the tables into the page."""
    found = json.loads(Path(sys.argv[1]).read_text())
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}{page(found)}{END}{after}")


if __name__ == "__main__":
    main()
