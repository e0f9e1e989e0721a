"""Every method of the SDK's server that a site overrides is called, or refused at start; none is passed over."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chatkit.server import ChatKitServer
from chatkit.store import AttachmentStore, Store
from chatkit.types import AttachmentCreateParams, FileAttachment
from structlog.testing import capture_logs

from relaykit.shared.errors import ServerLoadError
from relaykit.shared.settings import Settings
from relaykit.shared.site.checks import NEVER_CALLED, NEVER_CALLED_WITH_OUR_STORE
from relaykit.shared.site.loaded_server import load_server
from relaykit.shared.site.site_process import SiteProcess
from tests.support.clients.stream_clients import asking
from tests.support.servers.protocol_servers import BareServer, ProtocolServer
from tests.support.servers.user_servers import SqliteStore
from tests.support.system import Caller, create, make_settings, message, running

SDK_METHODS = frozenset(
    name
    for name, value in vars(ChatKitServer).items()
    if inspect.isfunction(value) and name not in ("__init__",)
)
FILE = {"name": "a.txt", "size": 3, "mime_type": "text/plain"}
ACTION = {"type": "count", "payload": {"by": 1}}


class Files(AttachmentStore[Any]):
    async def create_attachment(self, input: AttachmentCreateParams, context: Any) -> FileAttachment:
        return FileAttachment(id=self.generate_attachment_id(input.mime_type, context), **input.model_dump())

    async def delete_attachment(self, attachment_id: str, context: Any) -> None:
        pass


def overriding(methods: frozenset[str], called: set[str]) -> type[ProtocolServer]:
    """A server with a method of its own in the place of each of these, which notes that it was called."""

    class Site(ProtocolServer):
        pass

    def noting(name: str) -> Any:
        def method(self: Site, *arguments: Any, **named: Any) -> Any:
            called.add(name)
            return getattr(super(Site, self), name)(*arguments, **named)

        return method

    for name in methods:
        setattr(Site, name, noting(name))
    return Site


async def converse(alice: Caller) -> None:
    """Each of the sixteen requests, and a stop."""

    def on(thread: str, **more: Any) -> dict[str, Any]:
        return {"thread_id": thread, **more}

    first = await alice.stream(create("widget"))
    thread = first.thread_id
    user, widget = [item["id"] for item in await alice.items(thread)]
    await alice.stream({"type": "threads.custom_action", "params": on(thread, item_id=widget, action=ACTION)})
    await alice.ask(
        {"type": "threads.sync_custom_action", "params": on(thread, item_id=widget, action=ACTION)}
    )
    await alice.ask({"type": "items.feedback", "params": on(thread, item_ids=[widget], kind="positive")})
    await alice.stream({"type": "threads.retry_after_item", "params": on(thread, item_id=user)})
    await alice.stream(message(thread, "tool"))
    await alice.stream({"type": "threads.add_client_tool_output", "params": on(thread, result="x")})
    await alice.stream(message(thread, "questions"))
    asked = (await alice.items(thread))[-1]["id"]
    answers = {"answers": {"why": {"values": ["so"]}}}
    await alice.stream(
        {"type": "threads.add_structured_input", "params": on(thread, item_id=asked, input=answers)}
    )
    file = await alice.ask({"type": "attachments.create", "params": FILE})
    await alice.ask({"type": "attachments.delete", "params": {"attachment_id": file["id"]}})
    speech = {"audio_base64": "AAAA", "mime_type": "audio/webm"}
    await alice.ask({"type": "input.transcribe", "params": speech})
    await alice.ask({"type": "threads.list", "params": {}})
    await alice.ask({"type": "threads.get_by_id", "params": on(thread)})
    await alice.ask({"type": "threads.update", "params": on(thread, title="Mine")})
    await alice.ask({"type": "threads.delete", "params": on(thread)})


async def stop_before_it_begins(settings: Settings, site: type[ProtocolServer]) -> None:
    async with running(settings, lambda: site(store=None), workers=0) as system:
        alice = await system.caller("alice")
        async with asking(alice, create("stopped")) as waiting:
            await waiting.until("it waits", lambda answer: answer.of_type("stream_options"))
            await alice.cancel(waiting.run_id)
            assert (await waiting.finished()).end == "cancelled"


async def test_each_method_that_may_be_overridden_is_called(settings: Settings) -> None:
    """A method that a later SDK adds fails here until it is called or refused."""
    refused = NEVER_CALLED.keys() | NEVER_CALLED_WITH_OUR_STORE.keys()
    called: set[str] = set()
    site = overriding(SDK_METHODS - refused, called)
    async with running(settings, lambda: site(store=None, attachment_store=Files())) as system:
        await converse(await system.caller("alice"))
    await stop_before_it_begins(settings, site)
    assert called == SDK_METHODS - refused
    assert refused < SDK_METHODS


class Beside:
    """Notes on which threads the code of the API's instance, the first that is made, is called."""

    def __init__(self, build: Callable[[], ChatKitServer[Any]]) -> None:
        self._build = build
        self._of_api: list[object] = []
        self.threads: set[int] = set()

    def __call__(self) -> ChatKitServer[Any]:
        server = self._build()
        if not self._of_api:
            self._of_api = [server, server.store, server.attachment_store]
        return server

    def note(self, called: object) -> None:
        if any(called is each for each in self._of_api):
            self.threads.add(threading.get_ident())

    def noting(self, kind: type[Any], methods: frozenset[str]) -> Any:
        """The class, whose methods note where they are called."""

        def noting(name: str) -> Any:
            def method(of: Any, *arguments: Any, **named: Any) -> Any:
                self.note(of)
                return getattr(super(Noting, of), name)(*arguments, **named)

            return method

        class Noting(kind):  # type: ignore[misc]
            pass

        for name in methods:
            setattr(Noting, name, noting(name))
        return Noting


OF_RUNS = {"respond", "action", "_process_events", "_update_pending_items", "_apply_assistant_message_update"}
"""Methods that no API calls."""


@pytest.mark.parametrize(
    "method", sorted(SDK_METHODS - NEVER_CALLED.keys() - NEVER_CALLED_WITH_OUR_STORE.keys())
)
async def test_a_method_that_is_overridden_is_called_beside_the_loop_that_relays(
    settings: Settings, method: str
) -> None:
    """Whichever it is, and though it is the only one."""
    beside = Beside(lambda: site(store=None, attachment_store=Files()))
    site = beside.noting(ProtocolServer, frozenset({method}))
    async with running(settings, beside) as system:
        await converse(await system.caller("alice"))
        await stop_what_waits(await system.caller("bob"))
    assert threading.get_ident() not in beside.threads
    assert bool(beside.threads) == (method not in OF_RUNS)


async def test_stores_of_the_sites_own_are_called_beside_the_loop_that_relays(
    settings: Settings, tmp_path: Path
) -> None:
    def methods_of(kind: type[Any]) -> frozenset[str]:
        return frozenset(
            name for name in dir(kind) if inspect.isfunction(getattr(kind, name)) and name[0] != "_"
        )

    beside = Beside(lambda: ProtocolServer(store(str(tmp_path / "own.db")), files()))
    store = beside.noting(SqliteStore, methods_of(SqliteStore))
    files = beside.noting(Files, methods_of(Files))
    own = settings.model_copy(update={"chatkit_store": "own"})
    async with running(own, beside) as system:
        await converse(await system.caller("alice"))
        await stop_what_waits(await system.caller("bob"))
    assert beside.threads
    assert threading.get_ident() not in beside.threads


async def stop_what_waits(caller: Caller) -> None:
    """A run behind another one, and behind a client tool call that is awaited."""
    first = await caller.stream(create("tool"))
    async with caller.open_stream(message(first.thread_id, "behind it")) as response:
        waiting = response.headers["x-run-id"]
    async with caller.open_stream(message(first.thread_id, "last")) as response:
        last = response.headers["x-run-id"]
    assert (await caller.cancel(waiting)).json()["status"] == "cancelled"
    await caller.cancel(first.run_id)  # gives up the call, and queues what waits
    assert (await caller.resume(last, None)).end == "completed"


async def test_what_is_refused_with_our_store_is_called_with_the_sites_own(
    settings: Settings, tmp_path: Path
) -> None:
    called: set[str] = set()
    site = overriding(frozenset(NEVER_CALLED_WITH_OUR_STORE), called)
    own = settings.model_copy(update={"chatkit_store": "own"})
    path = str(tmp_path / "own.db")
    async with running(own, lambda: site(store=SqliteStore(path), attachment_store=Files())) as system:
        await converse(await system.caller("alice"))
    assert called == NEVER_CALLED_WITH_OUR_STORE.keys()


async def test_a_server_that_chooses_the_attachment_store_for_each_request(settings: Settings) -> None:
    """Its `attachment_store` is empty, and `_get_attachment_store()` its own."""

    class Choosing(ProtocolServer):
        def _get_attachment_store(self) -> AttachmentStore[Any]:
            return Files()

    async with running(settings, lambda: Choosing(store=None), workers=0) as system:
        alice = await system.caller("alice")
        file = await alice.ask({"type": "attachments.create", "params": FILE})
        assert file["name"] == FILE["name"]


# --- refused at start


class Mixin:
    async def process(self, request: Any, context: Any) -> Any:
        return await super().process(request, context)  # type: ignore[misc]


class Mixed(Mixin, BareServer):
    pass


class Later(Mixed):
    """Its base's method is put back."""

    process = ChatKitServer.process


def on_itself() -> BareServer:
    server = BareServer(store=None)
    server.process = server._process_non_streaming  # type: ignore[method-assign, assignment]
    return server


def with_store(**options: Any) -> BareServer:
    return BareServer(**options)


def load(issuer_key_file: Path, instance: ChatKitServer[Any], **more: Any) -> None:
    nowhere = ("redis://127.0.0.1:1", "postgresql://127.0.0.1:1/x")
    settings = make_settings(*nowhere, issuer_key_file, 1, chatkit_server="our_site:Site", **more)
    load_server(SiteProcess("api", settings, SqliteStore(":memory:")), instance)


def refusal(issuer_key_file: Path, instance: ChatKitServer[Any], **more: Any) -> str:
    with pytest.raises(ServerLoadError) as refused:
        load(issuer_key_file, instance, **more)
    assert "\n" not in refused.value.message
    return refused.value.message


@pytest.mark.parametrize("method", NEVER_CALLED)
@pytest.mark.parametrize("store", ["postgres", "own"])
def test_a_server_with_a_method_that_is_never_called_is_refused(
    issuer_key_file: Path, method: str, store: str
) -> None:
    """With either store, in one line that names the method and what to use in its place."""
    site = overriding(frozenset({method}), set())
    told = refusal(issuer_key_file, site(store=None), chatkit_store=store)
    assert told == (
        f"CHATKIT_SERVER=our_site:Site: it overrides {method}(), which Relaykit does not call:"
        f" {NEVER_CALLED[method]}"
    )


@pytest.mark.parametrize("method", NEVER_CALLED_WITH_OUR_STORE)
def test_a_method_that_our_store_makes_needless_is_refused_with_it(
    issuer_key_file: Path, method: str
) -> None:
    site = overriding(frozenset({method}), set())
    assert f"it overrides {method}()" in refusal(issuer_key_file, site(store=None))
    load(issuer_key_file, site(store=SqliteStore(":memory:")), chatkit_store="own")


def test_a_mixin_and_an_instance_are_refused_like_a_class(issuer_key_file: Path) -> None:
    assert "it overrides process()" in refusal(issuer_key_file, Mixed(store=None))
    assert "it overrides process()" in refusal(issuer_key_file, on_itself())
    load(issuer_key_file, Later(store=None))


# --- what holds the store that ours has replaced


class Search:
    def __init__(self, store: Store[Any]) -> None:
        self.store = store


class FilesIn(Files):
    def __init__(self, store: Store[Any]) -> None:
        self._store = store


class Holding(BareServer):
    """Builds what it needs around the store that it was given, else around one of its own."""

    def __init__(self, store: Store[Any] | None = None) -> None:
        store = store or SqliteStore(":memory:")
        super().__init__(store, FilesIn(store))
        self.threads = store
        self.search = Search(store)
        self.other = Search(SqliteStore(":memory:"))
        self.numbers = {"store": 1}


def warnings_of(issuer_key_file: Path, instance: ChatKitServer[Any] | None, **more: Any) -> list[Any]:
    nowhere = ("redis://127.0.0.1:1", "postgresql://127.0.0.1:1/x")
    name = f"{__name__}:Holding"
    settings = make_settings(*nowhere, issuer_key_file, 1, chatkit_server=name, **more)
    with capture_logs() as lines:
        load_server(SiteProcess("api", settings, SqliteStore(":memory:")), instance)
    return lines


def test_what_still_holds_the_store_that_was_replaced_is_told_in_one_line(issuer_key_file: Path) -> None:
    (line,) = warnings_of(issuer_key_file, Holding())
    assert (line["log_level"], line["action"]) == ("warning", "store_replaced")
    assert line["holders"] == ["attachment_store._store", "threads", "search.store"]


def test_a_server_that_builds_upon_the_store_it_is_given_holds_no_other(issuer_key_file: Path) -> None:
    """The constructor takes `store`; with CHATKIT_STORE=own, or no store at all, nothing is replaced."""
    assert warnings_of(issuer_key_file, None) == []
    assert warnings_of(issuer_key_file, Holding(), chatkit_store="own") == []
    assert warnings_of(issuer_key_file, BareServer(store=None)) == []
