"""What the console shows of an incident: its overview has what `relaykit status --json` has."""

from __future__ import annotations

from typing import Any

import httpx2

CLAIM = "ops"
"""OPS_CLAIM; the local issuer gives it to operators."""


async def overview(client: httpx2.AsyncClient) -> dict[str, Any]:
    """What an API's console tells an operator."""
    asked = await client.post("/dev/token", json={"sub": "operator", "tenant": "acme", "operator": True})
    assert asked.status_code == 200, asked.text
    headers = {"Authorization": f"Bearer {asked.json()['access_token']}"}
    response = await client.get("/ops/api/overview", headers=headers)
    assert response.status_code == 200, response.text
    found = response.json()
    assert isinstance(found, dict)
    return found
