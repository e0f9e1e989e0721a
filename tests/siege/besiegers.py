"""The attacking processes: one for each attack, started, waited for, and killed where they do not end."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE

from tests.integration.jwks_server import SigningKey
from tests.siege.order import Order, Tally
from tests.siege.visitors import token_for
from tests.support.system import ROOT

TENANT = "besiegers"
END_SECONDS = 30.0
"""After an attack's time for its process to end by itself, which it does long before."""


async def attacked(
    issuer: SigningKey, port: int, names: list[str], seconds: float, seed: int
) -> dict[str, Tally]:
    """Runs these attacks at once, each as a caller of its own; what each sent and got."""
    orders = [
        Order(name=name, port=port, token=token_for(issuer, name, TENANT), seconds=seconds, seed=seed)
        for name in names
    ]
    tallies = await asyncio.gather(*map(_attack, orders))
    return dict(zip(names, tallies, strict=True))


async def _attack(order: Order) -> Tally:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.siege.attacker",
        stdin=PIPE,
        stdout=PIPE,
        cwd=ROOT,
        env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT)},
    )
    try:
        async with asyncio.timeout(order.seconds + END_SECONDS):
            output, _ = await process.communicate(str(order).encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert output, f"the attack {order.name} ended with code {process.returncode} and said nothing"
    return Tally.parse(output.decode())
