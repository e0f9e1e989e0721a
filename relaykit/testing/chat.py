"""A client of a site in memory: what one user says, clicks and reads, in one thread at a time."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast
from uuid import uuid4

from chatkit.types import Attachment, Page, Thread, ThreadItem, ThreadMetadata, WidgetItem, is_streaming_req
from pydantic import TypeAdapter

from relaykit.shared.identity import RequestContext, RequestHeaders
from relaykit.shared.owner import Owner
from relaykit.shared.runs.run import new_run_id
from relaykit.shared.site.user_server import ContextFactory
from relaykit.testing.answer import Answer
from relaykit.testing.journals import LostAfter, losses_of
from relaykit.testing.site import Site, new_request_id, open_site
from relaykit.testing.virtual_time import virtual_time as in_virtual_time

_THREADS: TypeAdapter[Page[ThreadMetadata]] = TypeAdapter(Page[ThreadMetadata])
_ATTACHMENT: TypeAdapter[Attachment] = TypeAdapter(Attachment)
_ITEMS: TypeAdapter[Page[ThreadItem]] = TypeAdapter(Page[ThreadItem])


class Chat:
    """One user's client. A request that the product refuses raises its error, a RelaykitError with a stable `code`."""

    def __init__(
        self,
        site: Site,
        *,
        user: str,
        tenant: str | None,
        claims: Mapping[str, Any],
        headers: Mapping[str, str],
        locale: str | None,
        token: str | None,
    ) -> None:
        self._token = token if site.settings.forward_token else None
        self._site = site
        self._identity: dict[str, Any] = {"user_id": user, "tenant": tenant, "locale": locale}
        self._claims, self._headers = claims, headers
        self._owner = Owner.of(self._context({}, None))
        self.thread_id: str | None = None
        """The thread that is written to; None before the first message, and after `new_thread()`."""

    # What a user says and does

    async def say(self, text: str, **how: Any) -> Answer:
        """Sends a message and waits for the whole answer. `how` is as for `begin`."""
        answer = await self.begin(text, **how)
        return await answer.ended()

    async def begin(
        self,
        text: str,
        *,
        attachments: Sequence[str] = (),
        model: str | None = None,
        tool: str | None = None,
        tags: Sequence[Mapping[str, Any]] = (),
        quoted_text: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        lost_after: LostAfter = None,
        key: str | None = None,
    ) -> Answer:
        """Sends a message, and gives the answer that is under way.

        `attachments` are ids, as of `attach`; `tags` are entities, each with `id` and `text`, and `data` perhaps.
        `metadata` comes with the request. `lost_after=3`: the worker is lost once the client has had three events of
        the attempt, 0 before the first, and the next attempt begins; `(3, 0)` loses the next one too. `key` is the
        request's Idempotency-Key, a new one each time unless it is given.
        """
        options = {"tool_choice": {"id": tool} if tool else None, "model": model}
        message = {
            "content": [
                {"type": "input_text", "text": text},
                *({"type": "input_tag", "data": {}, **tag} for tag in tags),
            ],
            "attachments": list(attachments),
            "quoted_text": quoted_text,
            "inference_options": options,
        }
        params: dict[str, Any] = {"input": message}
        kind = "threads.create"
        if self.thread_id is not None:
            kind, params["thread_id"] = "threads.add_user_message", self.thread_id
        request = {"type": kind, "params": params, "metadata": dict(metadata or {})}
        return await self.submit(request, lost_after=lost_after, key=key)

    async def attach(self, name: str, content: bytes | str, mime_type: str | None = None) -> Attachment:
        """Uploads a file to Relaykit's attachment store: `say("see", attachments=[file.id])` sends it.

        The type is that of the name where it is not given.
        """
        data = content.encode() if isinstance(content, str) else content
        kind = mime_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
        params = {"name": name, "size": len(data), "mime_type": kind}
        answer = await self._answer({"type": "attachments.create", "params": params})
        attachment = _ATTACHMENT.validate_json(answer)
        await self._site.upload(attachment.id, data)
        return attachment

    def lose_uploads(self) -> None:
        """The bytes of all attachments are gone, as after a mistake in the object store."""
        if self._site.objects is not None:
            self._site.objects.lose()

    async def act(
        self,
        action: str | Mapping[str, Any],
        payload: Any = None,
        *,
        widget: WidgetItem | None = None,
        lost_after: LostAfter = None,
    ) -> Answer:
        """A click on a widget: the action's type with its payload, or the action as a widget holds it."""
        made = {"type": action, "payload": payload} if isinstance(action, str) else dict(action)
        params = {"item_id": widget.id if widget else None, "action": made, "thread_id": self._thread_id}
        request = {"type": "threads.custom_action", "params": params}
        return await (await self.submit(request, lost_after=lost_after)).ended()

    async def retry(self, item_id: str, *, lost_after: LostAfter = None) -> Answer:
        """Has the user's message answered again (`threads.retry_after_item`)."""
        params = {"thread_id": self._thread_id, "item_id": item_id}
        request = {"type": "threads.retry_after_item", "params": params}
        return await (await self.submit(request, lost_after=lost_after)).ended()

    async def feedback(self, kind: str, *items: ThreadItem) -> None:
        """`positive` or `negative`, of these items."""
        params = {"thread_id": self._thread_id, "item_ids": [item.id for item in items], "kind": kind}
        await self.ask({"type": "items.feedback", "params": params})

    def new_thread(self) -> None:
        """The next message begins a thread."""
        self.thread_id = None

    def open_thread(self, thread_id: str) -> None:
        """The next message goes to this thread."""
        self.thread_id = thread_id

    # What a client reads: from the store, as after a reload

    async def thread(self) -> Thread:
        """The thread with its title and metadata, and its first items."""
        request = {"type": "threads.get_by_id", "params": {"thread_id": self._thread_id}}
        return Thread.model_validate_json(await self._answer(request))

    async def history(self) -> list[ThreadItem]:
        """All items of the thread that a client may see, the oldest first."""
        items: list[ThreadItem] = []
        after: str | None = None
        while True:
            params = {"thread_id": self._thread_id, "limit": 100, "order": "asc", "after": after}
            page = _ITEMS.validate_json(await self._answer({"type": "items.list", "params": params}))
            items += page.data
            if not page.has_more:
                return items
            after = page.after

    async def threads(self) -> list[ThreadMetadata]:
        """The user's threads, the newest first, 100 at most."""
        request = {"type": "threads.list", "params": {"limit": 100}}
        return _THREADS.validate_json(await self._answer(request)).data

    # Any request of the protocol

    async def send(self, request: Mapping[str, Any]) -> Answer:
        """A streaming request of the ChatKit protocol, and its whole answer."""
        return await (await self.submit(request)).ended()

    async def submit(
        self, request: Mapping[str, Any], *, lost_after: LostAfter = None, key: str | None = None
    ) -> Answer:
        """A streaming request of the ChatKit protocol, and the answer that is under way."""
        losses = losses_of(lost_after)
        body = json.dumps(request).encode()
        parsed = await self._site.receive(body, self.context())
        if not is_streaming_req(parsed.request):
            raise ValueError(f"{parsed.request.type} is answered at once: use ask()")
        run_id = new_run_id()
        if losses:
            self._site.publisher.losses[run_id] = list(losses)
        try:
            run = await self._site.submit(
                body, parsed, self._context(parsed.metadata, run_id), key or uuid4().hex
            )
        except BaseException:
            self._site.publisher.losses.pop(run_id, None)
            raise
        self.thread_id = run.thread_id
        return Answer(self, self._site, run.id, run.thread_id, losses)

    async def cancel(self, run_id: str) -> None:
        """The user's stop, as `POST /runs/{id}/cancel`."""
        await self._site.cancel(self._owner, run_id)

    async def ask(self, request: Mapping[str, Any]) -> Any:
        """Any other request of the ChatKit protocol, and its answer's JSON."""
        return json.loads(await self._answer(request))

    async def _answer(self, request: Mapping[str, Any]) -> bytes:
        parsed = await self._site.receive(json.dumps(request).encode(), self.context())
        if is_streaming_req(parsed.request):
            raise ValueError(f"{parsed.request.type} becomes a run: use send() or submit()")
        return await self._site.answer(parsed.request, self._context(parsed.metadata, None))

    # Others on the same server

    def beside(
        self,
        user: str,
        *,
        tenant: str | None = None,
        claims: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        locale: str | None = None,
        token: str | None = None,
    ) -> Chat:
        """Another client of the same server: another user, or the same one in a second tab."""
        return Chat(
            self._site,
            user=user,
            tenant=tenant,
            claims=claims or {},
            headers=headers or {},
            locale=locale,
            token=token,
        )

    def context(self, **metadata: Any) -> RequestContext:
        """The user's, as a request with this metadata brings it: for calls of the server's store and own methods."""
        return self._context(metadata, None)

    @property
    def server(self) -> Any:
        """The server under test."""
        return self._site.user.server

    @property
    def _thread_id(self) -> str:
        if self.thread_id is None:
            raise ValueError("there is no thread yet: say something, or open_thread()")
        return self.thread_id

    def _context(self, metadata: Mapping[str, Any], run_id: str | None) -> RequestContext:
        tier = self._claims.get(self._site.settings.jwt_tier_claim or "")
        return RequestContext(
            **self._identity,
            claims=json.loads(json.dumps(dict(self._claims))),
            tier=tier if isinstance(tier, str) else None,
            headers=RequestHeaders(self._headers),
            metadata=metadata,
            request_id=new_request_id(),
            run_id=run_id,
            bearer_token=self._token,
        )


@asynccontextmanager
async def chat(
    server: Any,
    *,
    user: str = "user-1",
    tenant: str | None = None,
    claims: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    locale: str | None = None,
    token: str | None = None,
    context: ContextFactory | None = None,
    settings: Mapping[str, Any] | None = None,
    virtual_time: bool = True,
) -> AsyncIterator[Chat]:
    """A chat with a ChatKitServer, in memory and without services.

    `server` is its class, a factory, the server itself, or "module:attribute". `user`, `tenant`, `claims`, `headers`,
    `locale` and `token` (as `bearer_token`) are what its RequestContext has, and `context` is what CHATKIT_CONTEXT
    would name. `settings` are settings by their names in lower case; the environment and `.env` are not read. With
    `virtual_time` sleeps take no time (see `relaykit.testing.virtual_time`).

    Requests are admitted, runs are executed, and their events are written to a journal by Relaykit's own code; Redis,
    PostgreSQL, HTTP and the processes are stood in for. Raises ServerLoadError where the server cannot be loaded.
    """
    async with AsyncExitStack() as stack:
        if virtual_time:
            stack.enter_context(in_virtual_time())
        opened = open_site(server, context, settings or {}, is_time_virtual=virtual_time)
        site = await stack.enter_async_context(opened)
        identity = {"user": user, "tenant": tenant, "locale": locale, "token": token}
        yield Chat(site, claims=claims or {}, headers=headers or {}, **cast(Any, identity))
