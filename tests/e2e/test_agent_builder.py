"""The steps of docs/from-agent-builder.md, from exported code to a chat whose answers can be resumed."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from tests.support.endpoints.responses_endpoint import ResponsesEndpoint, responses_endpoint
from tests.support.sites.moved_site import MOVED, MovedSite, answered, asked, documented_code, streamed
from tests.support.system import ROOT, Answer, create, message, parse_frames, wait_until

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc"),
]

PAGE = "from-agent-builder.md"
USERS = """
async def user_of(request):
    return request.cookies.get("member")
"""
CHANGES = (
    ("workflow_input: WorkflowInput)", "workflow_input: WorkflowInput, history, streamed)"),
    (
        """[
            {"role": "user", "content": [{"type": "input_text", "text": workflow["input_as_text"]}]}
        ]""",
        "[*history]",
    ),
    ("returns_result_temp = await Runner.run(", "returns_result_temp = await streamed("),
    ("information_result_temp = await Runner.run(", "information_result_temp = await streamed("),
)
"""The table of the page, for the workflow that is moved."""


def new_folder(folder: Path) -> Path:
    command = [sys.executable, "-m", "relaykit", "new", "desk"]
    made = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    return folder / "desk"


def follow_the_page(folder: Path) -> None:
    """Steps 2 to 5."""
    workflow = (MOVED / "agent_builder" / "workflow.py").read_text()
    for before, after in CHANGES:
        assert workflow.count(before) == 1, before
        workflow = workflow.replace(before, after)
    (folder / "workflow.py").write_text(workflow)
    (folder / "chat.py").write_text(documented_code(PAGE, "class ChatServer"))
    web, session = folder / "web.py", documented_code(PAGE, "jwt.encode")
    web.write_text(f"{web.read_text()}\n\n{session}")
    (folder / "users.py").write_text(USERS)
    page = folder / "page.html"
    [get_token] = re.findall(r"^```js\n(.*?)^```", (ROOT / "docs" / PAGE).read_text(), re.M | re.S)
    changed = re.sub(
        r"async function getToken\(\) \{.*?\n      \}\n", get_token, page.read_text(), flags=re.S
    )
    assert "/dev/token" not in changed
    page.write_text(changed)
    settings = {
        "OPENAI_API_KEY": "sk-test",
        "JWT_SECRET": "5" * 64,
        "JWT_ISSUER": "https://shop.example",
        "JWT_AUDIENCE": "desk",
    }
    file = folder / ".env"
    kept = [line for line in file.read_text().splitlines() if line.partition("=")[0] not in settings]
    file.write_text("\n".join([*kept, *(f"{name}={value}" for name, value in settings.items())]) + "\n")


async def token_of(client: httpx2.AsyncClient, member: str) -> dict[str, str]:
    """The headers of whom the site has signed in, as the page gets them."""
    response = await client.post("/session", headers={"cookie": f"member={member}"})
    assert response.status_code == 200, response.text
    return {"authorization": f"Bearer {response.json()['token']}", "relaykit-resume": "1"}


async def test_exported_code_becomes_a_chat_that_is_signed_in_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The times are printed, and nothing depends on them."""
    async with responses_endpoint() as model:
        model.structured = '{"category": "returns"}'
        began_at = time.monotonic()
        folder = new_folder(tmp_path)
        follow_the_page(folder)
        site = MovedSite(
            folder, OPENAI_BASE_URL=model.base_url, OPENAI_AGENTS_DISABLE_TRACING="1", OPENAI_MODEL="small"
        )
        async with site.under_relaykit() as client:
            assert (await client.get("/chat")).status_code == 200
            assert (await client.post("/session")).status_code == 401
            assert (await client.post("/chatkit", json=create("hi"))).status_code == 401
            alice, bob = await token_of(client, "alice"), await token_of(client, "bob")
            first = await streamed(client, create("I want to return my tea."), alice)
            answered_after = time.monotonic() - began_at
            assert (answered(first), first.text, first.end) == (
                "Hello from the endpoint.",
                "Hello from the endpoint.",
                "completed",
            )
            assert "Category: returns" in str(model.streamed[-1]["instructions"])

            whole = await cut_and_resumed(
                client, model, message(first.thread_id, "held: and the milk?"), alice
            )
            resumed_after = time.monotonic() - began_at
            assert (whole.text, whole.end) == ("Hello from the endpoint.", "completed")
            said = str(model.streamed[-1]["input"])
            assert said.index("return my tea") < said.index("Hello from") < said.index("the milk"), said

            await stopped(client, model, first.thread_id, alice)
            of_thread = {"thread_id": first.thread_id, "limit": 20, "order": "asc"}
            items = await asked(client, {"type": "items.list", "params": of_thread}, alice)
            assert [item["type"] for item in items["data"][:4]] == ["user_message", "assistant_message"] * 2
            refused = await client.post(
                "/chatkit", json={"type": "items.list", "params": of_thread}, headers=bob
            )
            assert refused.status_code == 404
    with capsys.disabled():
        print(f"first answer after {answered_after:.1f} s, resumed after {resumed_after:.1f} s")


async def cut_and_resumed(
    client: httpx2.AsyncClient, model: ResponsesEndpoint, request: object, headers: dict[str, str]
) -> Answer:
    """The answer of a client that has lost its connection after the first words, from both of its connections."""
    read = b""
    async with client.stream("POST", "/chatkit", json=request, headers=headers) as response:
        run_id = response.headers["x-run-id"]
        async for piece in response.aiter_bytes():
            read += piece
            if b"text_delta" in read and read.endswith(b"\n\n"):
                break
    cursor = parse_frames(read)[-1][0]
    model.go_on.set()
    rest = await client.get(f"/runs/{run_id}/events", headers={**headers, "last-event-id": cursor})
    assert rest.status_code == 200, (rest.text, cursor, read)
    return Answer(200, response.headers, read + rest.content)


async def stopped(
    client: httpx2.AsyncClient, model: ResponsesEndpoint, thread_id: str, headers: dict[str, str]
) -> None:
    """The user's Stop reaches the model."""
    request = message(thread_id, "slow, please")
    async with client.stream("POST", "/chatkit", json=request, headers=headers) as response:
        async for piece in response.aiter_bytes():
            if b"text_delta" in piece:
                break
        stop = await client.post(f"/runs/{response.headers['x-run-id']}/cancel", headers=headers)
        assert stop.status_code in (200, 202), stop.text
    await wait_until("the model's stream has ended", lambda: model.open_streams == 0)
