"""Work of a key in one round of the event loop."""

import asyncio

from service.accounts.shares import Rounds


def test_a_flood_of_one_key_lets_another_in_after_its_share() -> None:
    """A hundred requests that arrive together delay another key's by eight of them, not by all."""
    done: list[str] = []

    async def check(rounds: Rounds, key: str) -> None:
        await rounds.turn(key)
        done.append(key)

    async def scenario() -> None:
        rounds = Rounds(per_key=8)
        await asyncio.gather(*(check(rounds, "flood") for _ in range(100)), check(rounds, "other"))

    asyncio.run(scenario())
    assert done.index("other") == 8
    assert done.count("flood") == 100
