"""What the tests of persistence share: settings for a database, callers, and an item of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

from chatkit.types import (
    Annotation,
    AssistantMessageContent,
    AssistantMessageItem,
    ClientToolCallItem,
    CustomSummary,
    CustomTask,
    DurationSummary,
    EndOfTurnItem,
    EntitySource,
    FileAttachment,
    FileSource,
    FileTask,
    GeneratedImage,
    GeneratedImageItem,
    HiddenContextItem,
    ImageAttachment,
    ImageTask,
    InferenceOptions,
    SDKHiddenContextItem,
    SearchTask,
    StructuredInputAnswer,
    StructuredInputFreeform,
    StructuredInputItem,
    StructuredInputMultipleChoice,
    StructuredInputMultipleChoiceOption,
    TaskItem,
    ThoughtTask,
    ThreadItem,
    ThreadMetadata,
    ToolChoice,
    URLSource,
    UserMessageItem,
    UserMessageTagContent,
    UserMessageTextContent,
    WidgetItem,
    Workflow,
    WorkflowItem,
)
from chatkit.widgets import Button, Card, ListView, ListViewItem, Markdown, Text

from relaykit.shared.identity import RequestContext
from relaykit.shared.postgres import database as databases
from relaykit.shared.postgres.database import Database
from relaykit.shared.settings import Settings

ALICE = RequestContext(user_id="alice", tenant="acme")
NOT_ALICE = {
    "another user of the tenant": RequestContext(user_id="bob", tenant="acme"),
    "a user of that name in another tenant": RequestContext(user_id="alice", tenant="globex"),
    "a user of that name without a tenant": RequestContext(user_id="alice"),
}

TEXTS = ["plain", "U+0000: \x00 stays", "Ünïcode \U0001f600 \u2028 \\u0041 \"'", ""]
TIMES = {
    "naive local": datetime(2026, 2, 3, 4, 5, 6, 789012),
    "UTC": datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=UTC),
    "offset": datetime(2026, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=5, minutes=45))),
}


def settings_for(database_url: str, **changes: Any) -> Settings:
    required: dict[str, Any] = {
        "redis_url": "redis://127.0.0.1:1",
        "jwks_url": "http://127.0.0.1:1/jwks.json",
        "jwt_issuer": "issuer",
        "jwt_audience": "audience",
        "database_pool_min": 1,
        "database_pool_max": 8,
    }
    return Settings(**{**required, "database_url": database_url, **changes})


def thread(thread_id: str | None = None, **changes: Any) -> ThreadMetadata:
    return ThreadMetadata(
        **{"id": thread_id or f"thr_{uuid4().hex}", "created_at": datetime.now(), **changes}
    )


def message(thread_id: str, item_id: str | None = None, text: str = "hi") -> AssistantMessageItem:
    return AssistantMessageItem(
        id=item_id or f"msg_{uuid4().hex}",
        thread_id=thread_id,
        created_at=datetime.now(),
        content=[AssistantMessageContent(text=text)],
    )


def in_run(run_id: str, attempt: int | None) -> RequestContext:
    return RequestContext(user_id=ALICE.user_id, tenant=ALICE.tenant, run_id=run_id, attempt=attempt)


async def insert_run(
    database: Database, run_id: str, thread_id: str, *, attempt: int = 1, status: str = "running"
) -> None:
    async with database.connection() as connection:
        await connection.execute(
            """INSERT INTO runs (id, tenant, owner, thread_id, kind, input, context, status, attempt)
               VALUES ($1, 'acme', 'alice', $2, 'threads.create', '{}', '{}', $4, $3)""",
            run_id,
            thread_id,
            attempt,
            status,
        )


async def until_someone_waits_for_a_lock(database: Database, seconds: float = 5) -> None:
    """Returns once a session of this database waits for a lock that another holds."""
    deadline = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < deadline:
        async with database.connection() as connection:
            await connection.execute(
                "SELECT pg_stat_clear_snapshot()"
            )  # a transaction sees the first one only
            waiting = await connection.fetchval(
                """SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'"""
            )
        if waiting:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"no session waited for a lock within {seconds} s")


async def outside(call: Callable[..., Awaitable[None]], *arguments: Any) -> None:
    """As a task: runs the call on a connection of its own, not in the transaction of the task that started it."""
    databases._ambient.set(None)
    await call(*arguments)


def every_item(thread_id: str, text: str, created_at: datetime) -> list[ThreadItem]:
    """One item of each of the eleven kinds, with every optional part filled."""
    common: dict[str, Any] = {"thread_id": thread_id, "created_at": created_at}
    sources = [
        URLSource(title=text, url="https://example.com/?q=1", description=text, attribution="a"),
        FileSource(title=text, filename="a.txt"),
        EntitySource(title=text, id="e1", icon="sparkle", interactive=True, data={"n": [1, {"x": None}]}),
    ]
    tasks = [
        CustomTask(title=text, icon="search", content=text, status_indicator="loading"),
        SearchTask(title_query=text, queries=[text], sources=[sources[0]]),
        ThoughtTask(content=text, status_indicator="complete"),
        FileTask(sources=[sources[1]]),
        ImageTask(title=text),
    ]
    attachments = [
        FileAttachment(id="atc_1", name="ü.pdf", mime_type="application/pdf", metadata={"pages": 3}),
        ImageAttachment(
            id="atc_2", name="b.png", mime_type="image/png", preview_url="https://example.com/b.png"
        ),
    ]
    return [
        UserMessageItem(
            id="user",
            content=[
                UserMessageTextContent(text=text),
                UserMessageTagContent(id="t", text=text, data={"k": text}, group="g", interactive=True),
            ],
            attachments=attachments,
            quoted_text=text,
            inference_options=InferenceOptions(tool_choice=ToolChoice(id="search"), model="m"),
            **common,
        ),
        AssistantMessageItem(
            id="assistant",
            content=[
                AssistantMessageContent(
                    text=text, annotations=[Annotation(source=s, index=n) for n, s in enumerate(sources)]
                )
            ],
            **common,
        ),
        ClientToolCallItem(
            id="tool",
            status="completed",
            call_id="c",
            name="n",
            arguments={"a": text},
            output=[text],
            **common,
        ),
        WidgetItem(
            id="widget",
            widget=Card(children=[Text(id="t", value=text), Markdown(value=text), Button(label="b")]),
            copy_text=text,
            **common,
        ),
        WidgetItem(
            id="list widget", widget=ListView(children=[ListViewItem(children=[Text(value=text)])]), **common
        ),
        GeneratedImageItem(
            id="image", image=GeneratedImage(id="i", url="https://example.com/i.png"), **common
        ),
        StructuredInputItem(
            id="structured",
            status="answered",
            inputs=[
                StructuredInputMultipleChoice(
                    id="q1",
                    question=text,
                    options=[StructuredInputMultipleChoiceOption(value=text)],
                    multiple=True,
                    answer=StructuredInputAnswer(values=[text]),
                ),
                StructuredInputFreeform(id="q2", question=text, description=text),
            ],
            **common,
        ),
        WorkflowItem(
            id="workflow",
            workflow=Workflow(
                type="custom", tasks=tasks, summary=CustomSummary(title=text, icon="bolt"), expanded=True
            ),
            **common,
        ),
        WorkflowItem(
            id="reasoning",
            workflow=Workflow(type="reasoning", tasks=[], summary=DurationSummary(duration=3)),
            **common,
        ),
        TaskItem(id="task", task=tasks[0], **common),
        HiddenContextItem(id="hidden", content={"any": [text, 1, None, True, 1.5]}, **common),
        SDKHiddenContextItem(id="sdk hidden", content=text, **common),
        EndOfTurnItem(id="end", **common),
    ]
