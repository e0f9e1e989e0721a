"""Attachments: two-phase upload over real HTTP, into a folder and an S3; signed, bounded, leaking nothing."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from chatkit.server import ChatKitServer, NonStreamingResult
from chatkit.store import NotFoundError
from chatkit.types import (
    Attachment,
    AttachmentCreateParams,
    FileAttachment,
    ImageAttachment,
    InferenceOptions,
    UserMessageItem,
    UserMessageTextContent,
)
from fastapi import FastAPI
from pydantic import AnyUrl

from relaykit.api.http.errors import install_error_handlers
from relaykit.api.routes.attachments import attachments_router, content_disposition
from relaykit.examples.assistant.attachments import AttachmentReader
from relaykit.examples.assistant.converter import AssistantConverter
from relaykit.examples.assistant.history import load_history
from relaykit.examples.assistant.untrusted import Fence
from relaykit.shared.attachments.links import Grant, link
from relaykit.shared.attachments.objects import UPLOAD_TIMEOUT_SECONDS, AttachmentObjects, open_object_store
from relaykit.shared.attachments.store import (
    SIZE_KEY,
    ObjectAttachmentStore,
    attachment_rules,
    build_attachment_store,
    build_previews,
    open_attachment_objects,
)
from relaykit.shared.errors import (
    AttachmentAlreadyUploaded,
    AttachmentNotFound,
    AttachmentNotUploaded,
    AttachmentRejected,
    AttachmentTooLarge,
    SettingsError,
    StorageUnavailable,
    TooManyAttachmentsUnsent,
)
from relaykit.shared.identity import RequestContext
from relaykit.shared.postgres.database import Database
from relaykit.shared.settings import Settings
from relaykit.shared.threads.calls import StoreCalls
from relaykit.shared.threads.store import PostgresStore
from tests.integration.http_app import serving
from tests.integration.persistence import ALICE, NOT_ALICE, settings_for, thread
from tests.integration.s3_server import s3_server
from tests.integration.written import written
from tests.support.network.links import Link
from tests.support.sites.assistant_support import MemoryStore
from tests.support.system import WAIT_SECONDS, create, message, running

KEY = "k" * 43
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
LIMIT = 20 * 1024 * 1024


@dataclasses.dataclass
class Place:
    """An API host with an attachment store, and the folder behind both."""

    settings: Settings
    database: Database
    folder: Path
    url: str
    http: httpx2.AsyncClient
    attachments: ObjectAttachmentStore
    store: PostgresStore

    async def create(
        self,
        size: int = len(PNG),
        mime_type: str = "image/png",
        name: str = "a.png",
        who: RequestContext = ALICE,
    ) -> Attachment:
        params = AttachmentCreateParams(name=name, size=size, mime_type=mime_type)
        attachment = await self.attachments.create_attachment(params, who)
        await self.store.save_attachment(attachment, who)
        return attachment

    async def put(self, attachment: Attachment, body: Any = PNG, **headers: str) -> httpx2.Response:
        upload = attachment.upload_descriptor
        assert upload is not None
        return await self.http.put(str(upload.url), content=body, headers={**upload.headers, **headers})

    def files(self) -> list[bytes]:
        return [path.read_bytes() for path in self.folder.rglob("*") if path.is_file()]

    async def garbage(self) -> int:
        async with self.database.connection() as connection:
            return await connection.fetchval("SELECT count(*) FROM attachment_garbage")

    async def execute(self, statement: str, *parameters: object) -> None:
        async with self.database.connection() as connection:
            await connection.execute(statement, *parameters)


@asynccontextmanager
async def _place(database_url: str, folder: Path, **changes: Any) -> AsyncIterator[Place]:
    settings = settings_for(
        database_url,
        **{
            "attachments_url": folder.as_uri(),
            "attachments_key": KEY,
            "public_url": "http://placeholder",
            **changes,
        },
    )
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(settings))
        objects = open_attachment_objects(settings, database)
        app = FastAPI()
        app.include_router(attachments_router(settings, objects))
        install_error_handlers(app)
        url = await stack.enter_async_context(serving(app))
        settings = settings.model_copy(update={"public_url": url})
        http = await stack.enter_async_context(httpx2.AsyncClient())
        attachments = build_attachment_store(settings, database, objects, StoreCalls(database))
        assert attachments is not None
        store = PostgresStore(StoreCalls(database), previews=build_previews(settings))
        yield Place(settings, database, folder, url, http, attachments, store)


@pytest.fixture
async def place(database_url: str, tmp_path: Path) -> AsyncIterator[Place]:
    async with _place(database_url, tmp_path / "attach ments") as place:
        yield place


def _code(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


class TestTwoPhases:
    async def test_registered_uploaded_read_and_shown(self, place: Place) -> None:
        attachment = await place.create()
        assert isinstance(attachment, ImageAttachment)
        assert attachment.upload_descriptor is not None
        assert attachment.upload_descriptor.method == "PUT"
        assert attachment.upload_descriptor.headers == {"Content-Type": "image/png"}
        assert len(attachment.id) == len("atc_") + 32
        loaded = await place.store.load_attachment(attachment.id, ALICE)
        assert loaded == attachment
        assert not await place.attachments.is_uploaded(attachment.id, ALICE)
        response = await place.put(attachment)
        assert (response.status_code, response.content) == (204, b"")
        loaded = await place.store.load_attachment(attachment.id, ALICE)
        assert loaded == attachment.model_copy(update={"upload_descriptor": None})
        assert await place.attachments.is_uploaded(attachment.id, ALICE)
        assert await place.attachments.read(attachment.id, ALICE) == PNG
        assert (place.files(), await place.garbage()) == ([PNG], 0)
        shown = await place.http.get(str(attachment.preview_url))
        assert (shown.status_code, shown.content) == (200, PNG)
        assert shown.headers["content-type"] == "image/png"
        assert shown.headers["content-length"] == str(len(PNG))
        assert shown.headers["content-disposition"] == "inline; filename*=UTF-8''a.png"
        assert shown.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in shown.headers["content-security-policy"]

    async def test_a_worker_reads_a_file_through_an_outage_of_postgresql(
        self, place: Place, database_url: str
    ) -> None:
        """A run waits for PostgreSQL in our stores, and does not fail."""
        attachment = await place.create()
        await place.put(attachment)
        refused = asyncio.Event()

        def waits() -> bool:
            refused.set()
            return True

        async with Link(database_url) as link:
            behind = settings_for(link.url, database_timeout_seconds=2)
            settings = place.settings.model_copy(update={"database_url": behind.database_url})
            async with Database(behind) as database:
                objects = open_attachment_objects(settings, database)
                store = build_attachment_store(settings, database, objects, StoreCalls(database, waits))
                assert store is not None
                link.refuse()
                reading = asyncio.create_task(store.read(attachment.id, ALICE))
                async with asyncio.timeout(WAIT_SECONDS):
                    await refused.wait()
                await link.listen()
                assert await reading == PNG

    async def test_the_sdk_drives_it(self, place: Place) -> None:
        """attachments.create and attachments.delete through ChatKitServer.process(), as the endpoint calls it."""

        class Server(ChatKitServer[Any]):
            def respond(self, thread: Any, input_user_message: Any, context: Any) -> Any:
                raise NotImplementedError

        server = Server(place.store, place.attachments)

        async def ask(kind: str, params: dict[str, Any]) -> dict[str, Any]:
            result = await server.process(json.dumps({"type": kind, "params": params}), ALICE)
            assert isinstance(result, NonStreamingResult)
            return json.loads(result.json)

        size = len(PNG)
        made = await ask("attachments.create", {"name": "a.png", "size": size, "mime_type": "image/png"})
        assert set(made) == {"id", "name", "mime_type", "type", "preview_url", "upload_descriptor"}
        response = await place.http.put(made["upload_descriptor"]["url"], content=PNG)
        assert response.status_code == 204
        assert await ask("attachments.delete", {"attachment_id": made["id"]}) == {}
        assert (place.files(), await place.garbage()) == ([], 0)
        with pytest.raises(NotFoundError):
            await ask("attachments.delete", {"attachment_id": made["id"]})

    async def test_a_large_upload_is_streamed(self, place: Place) -> None:
        content = b"0123456789abcdef" * (LIMIT // 16)
        attachment = await place.create(size=LIMIT, mime_type="application/pdf", name="large.pdf")

        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, LIMIT, 100_000):
                yield content[start : start + 100_000]

        assert (await place.put(attachment, chunks())).status_code == 204
        assert await place.attachments.read(attachment.id, ALICE) == content
        _, stream = await place.attachments._objects.open(
            await place.attachments._objects.find(attachment.id)
        )
        assert b"".join([chunk async for chunk in stream]) == content

    async def test_any_host_takes_the_upload(self, place: Place, database_url: str) -> None:
        async with _place(database_url, place.folder) as other:
            attachment = await place.create()
            assert attachment.upload_descriptor is not None
            moved = str(attachment.upload_descriptor.url).replace(place.url, other.url)
            response = await other.http.put(moved, content=PNG)
            assert response.status_code == 204
            assert await place.attachments.read(attachment.id, ALICE) == PNG

    async def test_a_later_save_of_an_older_copy_does_not_undo_the_upload(self, place: Place) -> None:
        attachment = await place.create()
        await place.put(attachment)
        await place.store.save_attachment(attachment, ALICE)
        assert (await place.store.load_attachment(attachment.id, ALICE)).upload_descriptor is None

    async def test_the_size_stands_beside_the_attachment_for_the_server_alone(self, place: Place) -> None:
        attachment = await place.store.load_attachment((await place.create()).id, ALICE)
        assert attachment.metadata == {SIZE_KEY: len(PNG)}


def _message(thread_id: str, *attachments: Attachment, item_id: str = "msg_1") -> UserMessageItem:
    return UserMessageItem(
        id=item_id,
        thread_id=thread_id,
        created_at=datetime.now(),
        content=[UserMessageTextContent(text="look")],
        attachments=list(attachments),
        inference_options=InferenceOptions(),
    )


def _preview(holder: Any) -> str:
    """The link of an image, or of the one image of a message."""
    [image] = holder.attachments if isinstance(holder, UserMessageItem) else [holder]
    assert isinstance(image, ImageAttachment)
    return str(image.preview_url)


class TestPreviews:
    async def _sent(self, place: Place) -> tuple[ImageAttachment, str]:
        """An image that stands in an item, and the thread's id."""
        attachment = await place.create()
        assert isinstance(attachment, ImageAttachment)
        await place.put(attachment)
        metadata = thread()
        await place.store.save_thread(metadata, ALICE)
        await place.store.add_thread_item(metadata.id, _message(metadata.id, attachment), ALICE)
        return attachment, metadata.id

    async def _read(self, place: Place, attachment: Attachment, thread_id: str) -> list[str]:
        """The link by each way in which the store gives it."""
        page = await place.store.load_thread_items(thread_id, None, 10, "desc", ALICE)
        item = await place.store.load_item(thread_id, "msg_1", ALICE)
        alone = await place.store.load_attachment(attachment.id, ALICE)
        return [_preview(page.data[0]), _preview(item), _preview(alone)]

    async def test_a_link_ends_and_each_reading_gives_one_that_works(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A user who comes back after days finds the image; who has kept its address does not."""
        attachment, thread_id = await self._sent(place)
        first = _preview(attachment)
        seconds = place.settings.attachment_preview_seconds
        left = int(parse_qs(first.split("?")[1])["expires"][0]) - time.time()
        assert seconds / 2 - 5 < left <= seconds
        later = time.time() + 90 * 86_400
        monkeypatch.setattr("time.time", lambda: later)
        assert _code(await place.http.get(first)) == (403, "invalid_signature")
        for url in await self._read(place, attachment, thread_id):
            assert (await place.http.get(url)).content == PNG
            cached = (await place.http.get(url)).headers["cache-control"]
            assert cached == "private, max-age=3600"

    async def test_the_last_seconds_of_a_link_are_the_last_of_its_copy(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        attachment, _ = await self._sent(place)
        url = _preview(attachment)
        end = int(parse_qs(url.split("?")[1])["expires"][0])
        monkeypatch.setattr("time.time", lambda: end - 7.5)
        assert (await place.http.get(url)).headers["cache-control"] == "private, max-age=7"
        monkeypatch.setattr("time.time", lambda: float(end))
        assert _code(await place.http.get(url)) == (403, "invalid_signature")

    async def test_every_host_gives_the_same_link_for_half_its_time(
        self, place: Place, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        attachment, thread_id = await self._sent(place)
        half = place.settings.attachment_preview_seconds // 2
        begin = float((int(time.time()) // half + 1) * half)
        host = PostgresStore(StoreCalls(place.database), previews=build_previews(place.settings))
        seen = set()
        for offset in (0.0, 1.0, half / 2, half - 1.0):
            now = begin + offset
            monkeypatch.setattr("time.time", lambda now=now: now)
            seen |= {*(await self._read(place, attachment, thread_id))}
            seen.add(_preview(await host.load_attachment(attachment.id, ALICE)))
        assert len(seen) == 1
        monkeypatch.setattr("time.time", lambda: begin + half)
        assert set(await self._read(place, attachment, thread_id)).isdisjoint(seen)

    async def test_a_link_of_the_release_before_is_renewed_and_works_meanwhile(self, place: Place) -> None:
        """It has no end; one without `expires` that this release might have given does not exist."""
        attachment, thread_id = await self._sent(place)
        endless = link(KEY, "http://an.old.address", Grant("GET", attachment.id, ALICE.owner, None))
        old = attachment.model_copy(update={"preview_url": AnyUrl(endless)})
        await place.store.save_attachment(old, ALICE)
        await place.store.save_item(thread_id, _message(thread_id, old), ALICE)
        for url in await self._read(place, attachment, thread_id):
            assert url == _preview(attachment)
        moved = endless.replace("http://an.old.address", place.url)
        assert (await place.http.get(moved)).status_code == 200

    async def test_a_new_key_ends_all_links_and_the_owner_gets_new_ones(
        self, place: Place, database_url: str
    ) -> None:
        attachment, thread_id = await self._sent(place)
        async with _place(database_url, place.folder, attachments_key="n" * 43) as other:
            old = _preview(attachment).replace(place.url, other.url)
            assert _code(await other.http.get(old)) == (404, "attachment_not_found")
            for url in await self._read(other, attachment, thread_id):
                assert url.startswith(other.url)
                assert (await other.http.get(url)).content == PNG

    async def test_what_a_server_has_put_in_its_place_stays(self, place: Place) -> None:
        attachment, thread_id = await self._sent(place)
        for url in (
            "https://cdn.example/a.png",
            f"https://cdn.example/attachments/{attachment.id}?size=small",
            f"{_preview(attachment)}&size=small",
            _preview(await place.create()),
        ):
            own = attachment.model_copy(update={"preview_url": AnyUrl(url)})
            await place.store.save_attachment(own, ALICE)
            await place.store.save_item(thread_id, _message(thread_id, own), ALICE)
            assert await self._read(place, attachment, thread_id) == [url] * 3

    @pytest.mark.parametrize("who", NOT_ALICE.values(), ids=NOT_ALICE)
    async def test_an_attachment_named_in_anothers_item_gets_no_link_that_works(
        self, place: Place, who: RequestContext
    ) -> None:
        attachment = await place.create()
        await place.put(attachment)
        metadata = thread()
        await place.store.save_thread(metadata, who)
        await place.store.add_thread_item(metadata.id, _message(metadata.id, attachment), who)
        [item] = (await place.store.load_thread_items(metadata.id, None, 10, "desc", who)).data
        assert _preview(item) != _preview(attachment)
        assert _code(await place.http.get(_preview(item))) == (404, "attachment_not_found")

    async def test_with_a_store_of_the_servers_own_the_link_lasts_as_long_as_the_attachment(
        self, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing of ours reads its items, so that nothing could renew it."""
        async with _place(database_url, tmp_path, chatkit_store="own") as place:
            attachment = await place.create()
            await place.put(attachment)
            later = time.time() + 90 * 86_400
            monkeypatch.setattr("time.time", lambda: later)
            assert (await place.http.get(_preview(attachment))).content == PNG


class TestUnsent:
    """CALLER_MAX_UNSENT_ATTACHMENTS and CALLER_MAX_UNSENT_BYTES."""

    @staticmethod
    async def _rows(place: Place) -> list[int]:
        async with place.database.connection() as connection:
            return [
                await connection.fetchval(f"SELECT count(*) FROM {table}")
                for table in ("attachments", "unsent_attachments")
            ]

    async def _create_many(self, places: list[Place], count: int, size: int) -> int:
        """Simultaneously over all the hosts; the number of those that were refused."""
        params = AttachmentCreateParams(name="a.png", size=size, mime_type="image/png")
        answers = await asyncio.gather(
            *(
                places[number % len(places)].attachments.create_attachment(params, ALICE)
                for number in range(count)
            ),
            return_exceptions=True,
        )
        refused = [answer for answer in answers if isinstance(answer, BaseException)]
        assert all(isinstance(error, TooManyAttachmentsUnsent) for error in refused), refused
        return len(refused)

    @pytest.mark.parametrize(
        "limit",
        [
            {"caller_max_unsent_attachments": 5},
            {"caller_max_unsent_attachments": 0, "caller_max_unsent_bytes": 5 * len(PNG) + 1},
        ],
        ids=["number", "bytes"],
    )
    async def test_they_are_limited_exactly_under_simultaneous_creates_on_two_hosts(
        self, database_url: str, tmp_path: Path, limit: dict[str, int]
    ) -> None:
        async with (
            _place(database_url, tmp_path, **limit) as one,
            _place(database_url, tmp_path, **limit) as two,
        ):
            assert await self._create_many([one, two], 24, len(PNG)) == 19
            assert await self._rows(one) == [5, 5], "a refused one has written nothing"
            for who in NOT_ALICE.values():
                await one.create(who=who)

    async def test_a_create_waits_for_one_of_the_same_caller_that_is_not_committed_yet(
        self, database_url: str, tmp_path: Path
    ) -> None:
        """Neither has seen the other when it begins: without the caller's lock both would be written."""
        limit = {"caller_max_unsent_attachments": 1}
        async with (
            _place(database_url, tmp_path, **limit) as one,
            _place(database_url, tmp_path, **limit) as two,
        ):
            params = AttachmentCreateParams(name="a.png", size=10, mime_type="image/png")
            async with one.database.transaction():
                await one.attachments.create_attachment(params, ALICE)
                second = asyncio.get_running_loop().create_task(
                    two.attachments.create_attachment(params, ALICE), context=contextvars.Context()
                )

                async def waits() -> bool:
                    async with one.database.connection() as connection:
                        return second.done() or await connection.fetchval(
                            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
                        )

                await _until("the second waits, or is done", waits)
            with pytest.raises(TooManyAttachmentsUnsent):
                await second
            assert await self._rows(one) == [1, 1]

    async def test_one_of_any_size_fits_where_there_is_no_other(
        self, database_url: str, tmp_path: Path
    ) -> None:
        async with _place(database_url, tmp_path, caller_max_unsent_bytes=10) as place:
            large = await place.create()
            with pytest.raises(TooManyAttachmentsUnsent) as refusal:
                await place.create(1)
            assert refusal.value.retry_after_seconds
            await place.attachments.delete_attachment(large.id, ALICE)
            await place.create(1)

    async def test_one_that_was_sent_deleted_or_forgotten_makes_room(
        self, database_url: str, tmp_path: Path
    ) -> None:
        async with _place(database_url, tmp_path, caller_max_unsent_attachments=1) as place:
            metadata = thread()
            await place.store.save_thread(metadata, ALICE)

            async def is_full() -> bool:
                return await self._create_many([place], 1, 10) == 1

            sent = await place.create()
            assert await is_full()
            await place.attachments.note_sent([sent.id], NOT_ALICE["another user of the tenant"])
            assert await is_full(), "another caller's word"
            await place.attachments.note_sent([sent.id], ALICE)
            by_the_release_before = await place.create()
            copy = by_the_release_before.model_copy(update={"thread_id": metadata.id})
            await place.store.save_attachment(copy, ALICE)
            deleted = await place.create()
            await place.attachments.delete_attachment(deleted.id, ALICE)
            await place.create()
            assert await is_full()
            await place.execute("UPDATE attachments SET created_at = now() - interval '7 days 1 hour'")
            await place.execute("UPDATE unsent_attachments SET created_at = now() - interval '7 days 1 hour'")
            await place.attachments.sweep()
            assert (await self._rows(place))[1] == 0
            await place.create()

    async def test_with_a_store_of_the_servers_own_an_old_one_makes_room_and_keeps_its_bytes(
        self, database_url: str, tmp_path: Path
    ) -> None:
        own = {"chatkit_store": "own", "caller_max_unsent_attachments": 1}
        async with _place(database_url, tmp_path, **own) as place:
            attachment = await place.create()
            await place.put(attachment)
            await place.execute("UPDATE unsent_attachments SET created_at = now() - interval '7 days 1 hour'")
            await place.attachments.sweep()
            await place.create()
            assert await place.attachments.read(attachment.id, ALICE) == PNG

    @pytest.mark.parametrize("is_own", [False, True], ids=["our store", "a store of the server's own"])
    async def test_the_api_refuses_with_nothing_written_until_a_message_takes_one(
        self, settings: Settings, tmp_path: Path, is_own: bool
    ) -> None:
        limited = settings.model_copy(
            update={
                "attachments_url": tmp_path.as_uri(),
                "attachments_key": KEY,
                "caller_max_unsent_attachments": 2,
                "chatkit_store": "own" if is_own else "postgres",
                "chatkit_server": f"{__name__}:{'OwnServer' if is_own else 'Silent'}",
            }
        )
        file = {"name": "a.png", "size": len(PNG), "mime_type": "image/png"}
        request = {"type": "attachments.create", "params": file}
        async with running(limited, apis=2, workers=0) as system:
            alice, elsewhere = await system.caller(), await system.caller(api=1)
            first, _ = await alice.ask(request), await elsewhere.ask(request)
            before = await written(limited.database_url, limited.redis_url)
            for caller in (alice, elsewhere):
                response = await caller.post(request)
                assert _code(response) == (429, "too_many_attachments_unsent")
                assert int(response.headers["retry-after"]) >= 1
            assert await written(limited.database_url, limited.redis_url) == before
            metrics = (await alice.client.get("/metrics")).text
            assert 'relaykit_requests_refused_total{code="too_many_attachments_unsent"}' in metrics
            assert (await (await system.caller("bob")).post(request)).status_code == 200
            put = await alice.client.put(first["upload_descriptor"]["url"], content=PNG)
            assert put.status_code == 204
            async with alice.open_stream(create("see", attachments=[first["id"]])) as response:
                assert response.status_code == 200, await response.aread()
            again = await alice.ask(request)
            assert _code(await alice.post(request)) == (429, "too_many_attachments_unsent")
            await alice.ask({"type": "attachments.delete", "params": {"attachment_id": again["id"]}})
            await alice.ask(request)


class Silent(ChatKitServer[Any]):
    """Never asked to answer: there is no worker."""

    def respond(self, thread: Any, input_user_message: Any, context: Any) -> Any:
        raise NotImplementedError


class OwnServer(Silent):
    """Keeps threads in a store of its own, and attachments in ours."""

    def __init__(self, attachment_store: Any) -> None:
        super().__init__(MemoryStore(), attachment_store)


class TestOfOneMessage:
    @pytest.mark.parametrize("kind", ["threads.create", "threads.add_user_message"])
    async def test_more_than_so_many_or_one_twice_are_refused_before_one_is_looked_up(
        self, settings: Settings, kind: str
    ) -> None:
        """Each of the ids is absent, which is what would be said if one were looked up."""
        named = settings.model_copy(update={"chatkit_server": f"{__name__}:Silent"})
        async with running(named, workers=0) as system:
            alice = await system.caller()
            before = await written(settings.database_url, settings.redis_url)

            async def send(ids: list[str]) -> tuple[int, str]:
                request = create("see", attachments=ids)
                if kind == "threads.add_user_message":
                    request = message("thr_absent", "see", attachments=ids)
                return _code(await alice.post(request))

            ids = [f"atc_{number}" for number in range(13)]
            assert await send(ids) == (422, "too_many_attachments")
            assert await send(ids[:11] + ids[:1]) == (422, "invalid_request")
            missing = "attachment_not_found" if kind == "threads.create" else "thread_not_found"
            assert await send(ids[:12]) == (404, missing)
            assert await written(settings.database_url, settings.redis_url) == before


class TestOneUploadAtATime:
    async def test_the_second_of_a_link_is_refused_on_every_host_before_it_has_sent_a_byte(
        self, place: Place, database_url: str
    ) -> None:
        async with _place(database_url, place.folder) as other:
            attachment = await place.create()
            reader, writer = await _raw_put(attachment, f"Content-Length: {len(PNG)}")
            writer.write(PNG[:100])
            await _until("the upload has begun", lambda: place.garbage())
            for host in (place, other):
                second, closing = await _raw_put(attachment, f"Content-Length: {len(PNG)}", host.url)
                assert await _answer(second) == (409, "upload_in_progress")
                closing.close()
            assert await place.garbage() == 1, "a refused one has noted nothing"
            writer.write(PNG[100:])
            assert (await asyncio.wait_for(reader.readline(), WAIT_SECONDS)).startswith(b"HTTP/1.1 204")
            writer.close()
            assert await place.attachments.read(attachment.id, ALICE) == PNG
            assert await _claims(place) == 0

    async def test_an_upload_that_fails_gives_the_link_back_at_once(self, place: Place) -> None:
        attachment = await place.create()
        assert _code(await place.put(attachment, _chunked(PNG + b"x")))[1] == "body_too_large"
        _, writer = await _raw_put(attachment, f"Content-Length: {len(PNG)}")
        writer.write(PNG[:100])
        await _until("the upload has begun", lambda: place.garbage())
        writer.close()
        await _until("the client is missed", lambda: _nothing(place))
        assert await _claims(place) == 0
        assert (await place.put(attachment)).status_code == 204

    async def test_an_upload_that_is_cancelled_gives_the_link_back(self, place: Place) -> None:
        """As an API process that stops does with those that outlast its drain."""
        attachment = await place.create()
        stored = await place.attachments._objects.find(attachment.id)

        async def endless() -> AsyncIterator[bytes]:
            yield PNG[:100]
            await asyncio.Event().wait()

        task = asyncio.create_task(place.attachments._objects.write(stored, endless()))
        await _until("the upload has begun", lambda: place.garbage())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await _claims(place), await place.garbage()) == (0, 0)
        assert (await place.put(attachment)).status_code == 204

    async def test_a_host_that_was_killed_blocks_the_link_no_longer_than_an_upload_may_last(
        self, place: Place
    ) -> None:
        attachment = await place.create()
        await place.attachments._objects._begin(attachment.id, "of a host that dies here")
        assert _code(await place.put(attachment)) == (409, "upload_in_progress")
        async with place.database.connection() as connection:
            left = await connection.fetchval("SELECT max(ends_at) - now() FROM attachment_uploads")
        assert timedelta(0) < left <= timedelta(seconds=UPLOAD_TIMEOUT_SECONDS)
        await place.execute("UPDATE attachment_uploads SET ends_at = now()")
        assert (await place.put(attachment)).status_code == 204
        assert await _claims(place) == 0

    async def test_uploads_of_one_caller_at_once_are_bounded(self, database_url: str, tmp_path: Path) -> None:
        async with _place(database_url, tmp_path, caller_max_bodies=2) as place:
            going = []
            for _ in range(2):
                _, writer = await _raw_put(await place.create(), f"Content-Length: {len(PNG)}")
                writer.write(PNG[:100])
                going.append(writer)
            await _until("both have begun", lambda: _are(place.garbage, 2))
            third = await place.create()
            reader, writer = await _raw_put(third, f"Content-Length: {len(PNG)}")
            assert await _answer(reader) == (429, "too_many_bodies")
            writer.close()
            theirs = await place.create(who=NOT_ALICE["another user of the tenant"])
            assert (await place.put(theirs)).status_code == 204
            for writer in going:
                writer.close()
            await _until("they are gone", lambda: _are(place.garbage, 0))
            assert (await place.put(third)).status_code == 204


async def _claims(place: Place) -> int:
    async with place.database.connection() as connection:
        return await connection.fetchval("SELECT count(*) FROM attachment_uploads")


async def _are(count: Any, number: int) -> bool:
    return await count() == number


async def _answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Status and code of an answer that comes though the request's body never does."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_SECONDS)).decode().lower()
    length = int(head.split("content-length: ")[1].split("\r\n")[0])
    body = json.loads(await asyncio.wait_for(reader.readexactly(length), WAIT_SECONDS))
    return int(head.split(" ")[1]), body["error"]["code"]


class TestReadingForATurn:
    """What the example assistant reads of a whole thread, counted where the bytes leave the storage."""

    @staticmethod
    async def _thread(place: Place, names: list[list[Attachment]]) -> str:
        metadata = thread()
        await place.store.save_thread(metadata, ALICE)
        for number, attachments in enumerate(names):
            item = _message(metadata.id, *attachments, item_id=f"msg_{number}")
            await place.store.add_thread_item(metadata.id, item, ALICE)
        return metadata.id

    @staticmethod
    async def _turn(place: Place, thread_id: str) -> list[Any]:
        fence = Fence()
        converter = AssistantConverter(AttachmentReader(place.attachments, ALICE, fence), fence)
        entries = await load_history(place.store, thread_id, None, converter, ALICE)
        return [part for entry in entries for part in entry["content"][1:]]  # type: ignore[index,typeddict-item]

    async def test_of_an_s3(self, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Three messages with the same twelve of 2 MB, one of 20 MB and one of none of its declared types."""
        _s3_credentials(monkeypatch)
        limits = {"caller_max_unsent_attachments": 0, "caller_max_unsent_bytes": 0}
        async with s3_server() as s3:
            monkeypatch.setenv("AWS_ENDPOINT", s3.url)
            async with _place(database_url, tmp_path, attachments_url="s3://bucket", **limits) as place:
                files = []
                for size in (LIMIT, *[2_000_000] * 10):
                    files.append(await place.create(size))
                    assert (await place.put(files[-1], b"x" * size)).status_code == 204
                thread_id = await self._thread(place, [files] * 3)
                for turn in (1, 2):
                    s3.sent.clear()
                    parts = await self._turn(place, thread_id)
                    assert s3.sent == [2_000_000] * 8, f"turn {turn}"
                    shown = [part for part in parts if part["type"] == "input_image"]
                    notes = [part["text"] for part in parts if part["type"] == "input_text"]
                    assert (len(shown), len(notes)) == (8, 3 * 11 - 8)
                    assert sum("too large" in note for note in notes) == 3
                    assert sum("attached again later" in note for note in notes) == 22

    async def test_of_a_folder(self, place: Place) -> None:
        """The kernel counts what the process reads: much less than a file of 20 MB that is named in each message."""
        large = await place.create(LIMIT)
        assert (await place.put(large, _chunked(b"x" * LIMIT))).status_code == 204
        small = await place.create()
        await place.put(small)
        thread_id = await self._thread(place, [[large, small]] * 5)
        before = _bytes_read()
        parts = await self._turn(place, thread_id)
        assert _bytes_read() - before < LIMIT // 4
        assert len([part for part in parts if part["type"] == "input_image"]) == 1

    async def test_a_reader_says_what_it_takes_and_nothing_more_is_read(self, place: Place) -> None:
        attachment = await place.create()
        await place.put(attachment)
        for path in place.folder.iterdir():
            path.unlink()
        with pytest.raises(AttachmentTooLarge):
            await place.attachments.read(attachment.id, ALICE, max_bytes=len(PNG) - 1)
        with pytest.raises(NotFoundError):
            await place.attachments.read(attachment.id, ALICE, max_bytes=len(PNG))


def _bytes_read() -> int:
    """By this process so far, from files and sockets."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("rchar: ")).removeprefix("rchar: "))


def _s3_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)


class TestCreate:
    @pytest.mark.parametrize(
        ("name", "size", "mime_type"),
        [
            ("a.svg", 10, "image/svg+xml"),
            ("a.html", 10, "text/html"),
            ("a", 10, ""),
            ("a.png", 0, "image/png"),
            ("a.png", -1, "image/png"),
            ("a.png", LIMIT + 1, "image/png"),
            ("a.png", 10**30, "image/png"),
            ("", 10, "image/png"),
            ("a" * 256, 10, "image/png"),
        ],
    )
    async def test_what_is_not_allowed_is_rejected_with_nothing_written(
        self, place: Place, name: str, size: int, mime_type: str
    ) -> None:
        with pytest.raises(AttachmentRejected):
            await place.create(size, mime_type, name)
        async with place.database.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM attachments") == 0

    async def test_a_type_is_compared_without_its_parameters(self, place: Place) -> None:
        attachment = await place.create(5, "Text/Plain; charset=UTF-8", "n\x00ote.txt")
        assert (type(attachment), attachment.mime_type) == (FileAttachment, "text/plain")
        assert (await place.put(attachment, b"h\xc3\xa9llo"[:5])).status_code == 204


class TestTypes:
    """What browsers say of a file's type is what their system says: often nothing, or the program that opens it."""

    @pytest.mark.parametrize(
        ("name", "declared", "right"),
        [
            ("data.csv", "application/vnd.ms-excel", "text/csv"),
            ("DATA.CSV", "Application/VND.MS-Excel; charset=binary", "text/csv"),
            ("data.csv", "application/csv", "text/csv"),
            ("data", "text/x-csv", "text/csv"),
            ("data.csv", "text/plain", "text/plain"),
            ("notes.md", "", "text/markdown"),
            ("notes.md", "application/octet-stream", "text/markdown"),
            ("notes", "text/x-markdown", "text/markdown"),
            ("app.log", "", "text/plain"),
            ("app.2026-11-29.log", "binary/octet-stream", "text/plain"),
            ("a.json", "text/json", "application/json"),
            ("a.jpg", "image/jpg", "image/jpeg"),
            ("a", "image/pjpeg", "image/jpeg"),
            ("a.PNG", "", "image/png"),
            ("a.png", "image/x-png", "image/png"),
            ("a.pdf", "application/x-pdf", "application/pdf"),
        ],
    )
    async def test_the_ending_decides_where_the_type_is_absent_or_wrong(
        self, place: Place, name: str, declared: str, right: str
    ) -> None:
        """And the upload may say either: many clients send with the bytes what the browser says of the file."""
        for said in (declared, right, "application/octet-stream"):
            attachment = await place.create(len(PNG), declared, name)
            assert attachment.mime_type == right
            assert isinstance(attachment, ImageAttachment) == right.startswith("image/")
            assert (await place.put(attachment, **{"Content-Type": said})).status_code == 204

    @pytest.mark.parametrize(
        ("name", "declared"),
        [
            ("page.html", ""),
            ("a.svg", "application/octet-stream"),
            ("a.csv", "text/html"),
            ("a.png", "image/svg+xml"),
            ("a.md", "application/xhtml+xml"),
            ("a.xls", "application/vnd.ms-excel"),
            ("a.xlsx", ""),
            ("a.zip", "application/x-zip-compressed"),
            ("csv", "application/vnd.ms-excel"),
            ("a.csv.exe", "application/octet-stream"),
            ("md", ""),
        ],
    )
    async def test_an_ending_lets_nothing_in_that_is_not_allowed(
        self, place: Place, name: str, declared: str
    ) -> None:
        with pytest.raises(AttachmentRejected) as refusal:
            await place.create(5, declared, name)
        assert "text/csv, text/markdown, text/plain" in refusal.value.message
        async with place.database.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM attachments") == 0

    async def test_what_is_served_is_the_type_that_was_allowed(self, place: Place) -> None:
        """Whatever the upload said, a picture is shown and everything else saved."""
        for name, declared, right, shown_in_place in (
            ("a.jpg", "image/jpg", "image/jpeg", True),
            ("data.csv", "application/vnd.ms-excel", "text/csv", False),
        ):
            attachment = await place.create(len(PNG), declared, name)
            await place.put(attachment, **{"Content-Type": declared})
            stored = await place.store.load_attachment(attachment.id, ALICE)
            url = place.attachments._rules.previews.url(attachment.id, ALICE.owner)
            response = await place.http.get(str(url))
            assert (stored.mime_type, response.headers["content-type"].partition(";")[0]) == (right, right)
            assert response.headers["x-content-type-options"] == "nosniff"
            assert response.headers["content-disposition"].startswith("inline") == shown_in_place

    async def test_a_site_that_allows_a_type_by_another_name_allows_the_type(
        self, database_url: str, tmp_path: Path
    ) -> None:
        async with _place(database_url, tmp_path, attachment_mime_types=("image/jpg", "text/csv")) as place:
            assert (await place.create(5, "image/jpeg", "a")).mime_type == "image/jpeg"
            assert (await place.create(5, "text/plain", "a.csv")).mime_type == "text/csv"

    async def test_excel_stays_excel_where_that_is_allowed(self, database_url: str, tmp_path: Path) -> None:
        excel = "application/vnd.ms-excel"
        async with _place(database_url, tmp_path, attachment_mime_types=(excel,)) as place:
            for name in ("a.xls", "a.csv"):
                assert (await place.create(5, excel, name)).mime_type == excel


class TestRefusedUploads:
    async def _refused(
        self, place: Place, attachment: Attachment, response: httpx2.Response
    ) -> tuple[int, str]:
        assert place.files() == []
        assert await place.garbage() == 0
        assert (await place.put(attachment)).status_code == 204, "a refused upload can be repeated"
        return _code(response)

    @pytest.mark.parametrize("extra", [1, 300_000])
    @pytest.mark.parametrize("with_length", [True, False], ids=["Content-Length", "chunked"])
    async def test_more_bytes_than_declared(self, place: Place, extra: int, with_length: bool) -> None:
        attachment = await place.create()
        body = PNG + b"x" * extra
        response = await place.put(attachment, body if with_length else _chunked(body))
        assert await self._refused(place, attachment, response) == (413, "body_too_large")

    @pytest.mark.parametrize("body", [b"", PNG[:-1]], ids=["nothing", "one byte short"])
    @pytest.mark.parametrize("with_length", [True, False], ids=["Content-Length", "chunked"])
    async def test_fewer_bytes_than_declared(self, place: Place, body: bytes, with_length: bool) -> None:
        attachment = await place.create()
        response = await place.put(attachment, body if with_length else _chunked(body))
        assert await self._refused(place, attachment, response) == (422, "attachment_rejected")

    async def test_an_upload_is_refused_at_the_first_byte_too_many(self, place: Place) -> None:
        """Not when the client is done: the answer comes while the body is still open."""
        attachment = await place.create()
        reader, writer = await _raw_put(attachment, "Transfer-Encoding: chunked")
        writer.write(b"%x\r\n%b\r\n" % (len(PNG) + 1, PNG + b"x"))
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), WAIT_SECONDS)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert (place.files(), await place.garbage()) == ([], 0)

    async def test_another_content_type(self, place: Place) -> None:
        attachment = await place.create()
        response = await place.put(attachment, **{"Content-Type": "text/html"})
        assert await self._refused(place, attachment, response) == (422, "attachment_rejected")

    async def test_bytes_that_are_there_are_not_replaced(self, place: Place) -> None:
        attachment = await place.create()
        await place.put(attachment)
        response = await place.put(attachment, PNG[::-1])
        assert response.status_code == 409
        assert _code(response)[1] == AttachmentAlreadyUploaded.code
        assert await place.attachments.read(attachment.id, ALICE) == PNG
        assert place.files() == [PNG]

    async def test_of_racing_uploads_one_wins_and_the_others_leave_nothing(
        self, place: Place, database_url: str
    ) -> None:
        bodies = [bytes([number]) * len(PNG) for number in range(8)]
        async with _place(database_url, place.folder) as other:
            attachment = await place.create()
            assert attachment.upload_descriptor is not None
            url = str(attachment.upload_descriptor.url)
            urls = [url if number % 2 else url.replace(place.url, other.url) for number in range(8)]
            responses = await asyncio.gather(
                *(place.http.put(to, content=_chunked(body)) for to, body in zip(urls, bodies, strict=True))
            )
        won = [body for body, response in zip(bodies, responses, strict=True) if response.status_code == 204]
        assert {response.status_code for response in responses} == {204, 409}
        assert place.files() == won == [await place.attachments.read(attachment.id, ALICE)]
        assert await place.garbage() == 0

    async def test_a_client_that_goes_away_leaves_nothing_and_can_come_back(self, place: Place) -> None:
        attachment = await place.create()
        _, writer = await _raw_put(attachment, f"Content-Length: {len(PNG)}")
        writer.write(PNG[:100])
        await writer.drain()
        await _until("the upload has begun", lambda: place.garbage())
        writer.close()
        await _until("it is cleaned up", lambda: _nothing(place))
        assert (await place.put(attachment)).status_code == 204

    async def test_an_attachment_deleted_during_its_upload_leaves_nothing(self, place: Place) -> None:
        attachment = await place.create()

        async def chunks() -> AsyncIterator[bytes]:
            yield PNG[:100]
            await place.attachments.delete_attachment(attachment.id, ALICE)
            yield PNG[100:]

        response = await place.put(attachment, chunks())
        assert _code(response) == (404, "attachment_not_found")
        assert (place.files(), await place.garbage()) == ([], 0)


class TestSignatures:
    @pytest.mark.parametrize("method", ["GET", "PUT"])
    async def test_only_the_very_link_works(self, place: Place, method: str) -> None:
        """With any other the attachment is as absent as one that never was."""
        attachment, other = await place.create(), await place.create()
        assert isinstance(attachment, ImageAttachment)
        assert isinstance(other, ImageAttachment)
        assert attachment.upload_descriptor is not None
        assert other.upload_descriptor is not None
        if method == "GET":
            await place.put(attachment)
            good, foreign = str(attachment.preview_url), str(other.preview_url)
            crossed = str(attachment.upload_descriptor.url)
        else:
            good, foreign = str(attachment.upload_descriptor.url), str(other.upload_descriptor.url)
            crossed = str(attachment.preview_url)
        path, query = good.split("?")
        signature = parse_qs(query)["signature"][0]
        soon = int(time.time()) + 1000
        bad = [
            path,
            f"{path}?signature=",
            f"{path}?{foreign.split('?')[1]}",
            f"{path}?{crossed.split('?')[1]}",
            good[:-1] + ("A" if good[-1] != "A" else "B"),
            f"{path}?signature={signature}",
            f"{path}?signature={signature}&expires={soon}",
            f"{path}?signature={signature}&expires=",
            f"{path}?signature={signature}&expires=never",
            f"{path}?signature={signature}&expires=%D9%A1",
            f"{path}?signature=%C3%A9%00",
            good + "&expires=99999999999",
        ]
        for url in bad:
            response = await place.http.request(method, url, content=PNG if method == "PUT" else None)
            assert _code(response) == (404, "attachment_not_found"), url
        assert (await place.http.request(method, good, content=PNG)).status_code in (200, 204)

    async def test_a_link_whose_time_is_over(self, place: Place) -> None:
        attachment = await place.create()
        grant = Grant("PUT", attachment.id, ALICE.owner, int(time.time()) - 1)
        response = await place.http.put(link(KEY, place.url, grant), content=PNG)
        assert _code(response) == (403, "invalid_signature")

    @pytest.mark.parametrize("attachment_id", ["atc_absent", "atc_%00", "%F0%9F%98%80"])
    async def test_an_absent_attachment(self, place: Place, attachment_id: str) -> None:
        for method in ("GET", "PUT"):
            response = await place.http.request(
                method, f"{place.url}/attachments/{attachment_id}?signature=x"
            )
            assert _code(response) == (404, "attachment_not_found")

    async def test_a_preview_before_the_upload(self, place: Place) -> None:
        attachment = await place.create()
        assert isinstance(attachment, ImageAttachment)
        assert _code(await place.http.get(str(attachment.preview_url))) == (409, "attachment_not_uploaded")


class TestDownloads:
    @pytest.mark.parametrize(
        ("name", "mime_type", "expected"),
        [
            ("a.png", "image/png", "inline; filename*=UTF-8''a.png"),
            ("a.svg", "image/svg+xml", "attachment; filename*=UTF-8''a.svg"),
            ("a.pdf", "application/pdf", "attachment; filename*=UTF-8''a.pdf"),
            ('ü"\r\nX: y;.txt', "text/plain", "attachment; filename*=UTF-8''%C3%BC%22%0D%0AX%3A%20y%3B.txt"),
            ("../../etc", "text/csv", "attachment; filename*=UTF-8''..%2F..%2Fetc"),
        ],
    )
    def test_only_safe_images_are_shown_in_place_and_no_name_breaks_the_header(
        self, name: str, mime_type: str, expected: str
    ) -> None:
        assert content_disposition(name, mime_type) == expected

    async def test_a_file_is_saved_not_shown(self, place: Place) -> None:
        attachment = await place.create(len(PNG), "application/pdf", 'ü"\n.pdf')
        await place.put(attachment)
        grant = Grant("GET", attachment.id, ALICE.owner, None)
        response = await place.http.get(link(KEY, place.url, grant))
        assert response.content == PNG
        assert response.headers["content-disposition"].startswith("attachment;")


class TestOwners:
    @pytest.mark.parametrize("who", NOT_ALICE.values(), ids=NOT_ALICE)
    async def test_nobody_else_reads_or_deletes(self, place: Place, who: Any) -> None:
        attachment = await place.create()
        await place.put(attachment)
        for call in (
            place.attachments.read,
            place.attachments.delete_attachment,
            place.attachments.is_uploaded,
            place.store.load_attachment,
        ):
            with pytest.raises(NotFoundError):
                await call(attachment.id, who)
            with pytest.raises(NotFoundError):
                await call("atc_absent", ALICE)
        assert await place.attachments.read(attachment.id, ALICE) == PNG

    async def test_what_is_not_uploaded_is_not_read(self, place: Place) -> None:
        attachment = await place.create()
        with pytest.raises(AttachmentNotUploaded):
            await place.attachments.read(attachment.id, ALICE)

    async def test_bytes_that_somebody_removed_are_not_found(self, place: Place) -> None:
        attachment = await place.create()
        assert isinstance(attachment, ImageAttachment)
        await place.put(attachment)
        for path in place.folder.iterdir():
            path.unlink()
        with pytest.raises(NotFoundError):
            await place.attachments.read(attachment.id, ALICE)
        assert _code(await place.http.get(str(attachment.preview_url))) == (404, "attachment_not_found")


class TestSweep:
    async def test_a_deleted_threads_bytes_go(self, place: Place) -> None:
        metadata = thread()
        await place.store.save_thread(metadata, ALICE)
        kept, gone = await place.create(), await place.create()
        for attachment in (kept, gone):
            await place.put(attachment)
        sent = gone.model_copy(update={"thread_id": metadata.id})
        await place.store.save_attachment(sent, ALICE)
        assert await place.attachments.sweep() == 0
        await place.store.delete_thread(metadata.id, ALICE)
        assert await place.attachments.sweep() == 1
        assert len(place.files()) == 1
        assert await place.attachments.read(kept.id, ALICE) == PNG
        assert (await place.garbage(), await place.attachments.sweep()) == (0, 0)

    async def test_uploads_that_no_message_took_go_after_a_week(self, place: Place) -> None:
        metadata = thread()
        await place.store.save_thread(metadata, ALICE)
        forgotten, sent = await place.create(), await place.create()
        for attachment in (forgotten, sent):
            await place.put(attachment)
        copy = sent.model_copy(update={"thread_id": metadata.id})
        await place.store.save_attachment(copy, ALICE)
        await place.store.save_attachment(FileAttachment(id="own", name="n", mime_type="x/y"), ALICE)
        await place.execute("UPDATE attachments SET created_at = now() - interval '6 days 23 hours'")
        assert await place.attachments.sweep() == 0
        await place.execute("UPDATE attachments SET created_at = now() - interval '7 days 1 hour'")
        assert await place.attachments.sweep() == 1
        assert await place.attachments.read(sent.id, ALICE) == PNG
        with pytest.raises(NotFoundError):
            await place.store.load_attachment(forgotten.id, ALICE)
        assert (await place.store.load_attachment("own", ALICE)).id == "own"

    async def test_with_a_store_of_the_servers_own_no_upload_counts_as_forgotten(self, place: Place) -> None:
        attachment = await place.create()
        await place.put(attachment)
        await place.execute("UPDATE attachments SET created_at = now() - interval '1 year'")
        settings = place.settings.model_copy(update={"chatkit_store": "own"})
        objects = open_attachment_objects(settings, place.database)
        own = build_attachment_store(settings, place.database, objects, StoreCalls(place.database))
        assert own is not None
        assert await own.sweep() == 0
        assert await own.read(attachment.id, ALICE) == PNG

    async def test_bytes_of_a_host_that_died_in_an_upload_go(self, place: Place) -> None:
        """The bytes are written, the row is not: what a kill -9 between the two leaves."""
        attachment = await place.create()
        objects = place.attachments._objects
        stored = await objects.find(attachment.id)

        async def die(stored: Any, object_key: str) -> None:
            raise asyncio.CancelledError

        objects._complete = die  # type: ignore[method-assign]
        with pytest.raises(asyncio.CancelledError):
            await objects.write(stored, _chunked(PNG))
        del objects._complete
        assert (place.files(), await place.garbage()) == ([PNG], 1)
        assert await place.attachments.sweep() == 0, "it might be an upload that goes on"
        await place.execute("UPDATE attachment_garbage SET due_at = now()")
        assert await place.attachments.sweep() == 1
        assert (place.files(), await place.garbage()) == ([], 0)
        assert (await place.put(attachment)).status_code == 204


class TestS3:
    @pytest.fixture(autouse=True)
    def _credentials(self, monkeypatch: pytest.MonkeyPatch) -> None:
        _s3_credentials(monkeypatch)

    async def test_upload_read_show_and_delete(
        self, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with s3_server() as s3:
            monkeypatch.setenv("AWS_ENDPOINT", s3.url)
            async with _place(database_url, tmp_path, attachments_url="s3://bucket/some/prefix") as place:
                content = PNG * 1_200  # more than two parts of 5 MiB
                attachment = await place.create(len(content))
                assert isinstance(attachment, ImageAttachment)
                assert (await place.put(attachment, _chunked(content))).status_code == 204
                assert [key.startswith("some/prefix/") for key in s3.objects] == [True]
                assert await place.attachments.read(attachment.id, ALICE) == content
                assert (await place.http.get(str(attachment.preview_url))).content == content
                await place.attachments.delete_attachment(attachment.id, ALICE)
                assert (s3.objects, s3.unfinished, await place.garbage()) == ({}, {}, 0)

    async def test_a_refused_upload_leaves_no_part_behind(
        self, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with s3_server() as s3:
            monkeypatch.setenv("AWS_ENDPOINT", s3.url)
            async with _place(database_url, tmp_path, attachments_url="s3://bucket") as place:
                attachment = await place.create(6_000_000)
                response = await place.put(attachment, _chunked(b"x" * 6_500_000))
                assert _code(response) == (413, "body_too_large")
                await _until("the parts are gone", lambda: _is_empty(s3.unfinished))
                assert s3.objects == {}

    async def test_a_storage_that_is_away_is_a_clear_error_and_bytes_are_removed_later(
        self, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with _place(database_url, tmp_path) as place:
            attachment = await place.create()
            await place.put(attachment)
            monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:1")
            away = AttachmentObjects(place.database, open_object_store("s3://bucket"))
            with pytest.raises(StorageUnavailable):
                await away.read(await away.find(attachment.id))
            other = await away.find((await place.create()).id)
            with pytest.raises(StorageUnavailable):
                await away.write(other, _chunked(PNG))
            assert await place.garbage() == 1
            rules = attachment_rules(place.settings)
            assert rules is not None
            store = ObjectAttachmentStore(
                place.database, away, rules, StoreCalls(place.database), sweep_unsent=True
            )
            await store.delete_attachment(attachment.id, ALICE)
            assert (len(place.files()), await place.garbage()) == (1, 2)
            assert await store.sweep() == 0
            assert await store.sweep() == 0, "what could not be removed is postponed"
            await place.execute("UPDATE attachment_garbage SET due_at = now()")
            assert await place.attachments.sweep() == 2
            assert (place.files(), await place.garbage()) == ([], 0)


class TestSettings:
    async def test_without_a_url_there_is_no_store_and_no_route(self, database_url: str) -> None:
        settings = settings_for(database_url)
        database = Database(settings)
        assert open_attachment_objects(settings, database) is None
        assert build_attachment_store(settings, database, None, StoreCalls(database)) is None
        assert attachments_router(settings, None).routes == []

    @pytest.mark.parametrize(
        "url", ["ftp://x/y", "/tmp/x", "s3://", "az://container", "file:///proc/nothing/here"]
    )
    async def test_a_url_that_cannot_be_used_is_one_clear_line(self, database_url: str, url: str) -> None:
        settings = settings_for(database_url, attachments_url=url, attachments_key=KEY)
        with pytest.raises(SettingsError, match="ATTACHMENTS_URL") as raised:
            open_attachment_objects(settings, Database(settings))
        assert "\n" not in raised.value.message

    async def test_where_links_cannot_be_made_the_start_fails(
        self, database_url: str, tmp_path: Path
    ) -> None:
        settings = settings_for(
            database_url, attachments_url=tmp_path.as_uri(), attachments_key=KEY, host="0.0.0.0"
        )
        with pytest.raises(SettingsError, match="PUBLIC_URL"):
            open_attachment_objects(settings, Database(settings))

    def test_a_short_key_is_refused(self, database_url: str) -> None:
        with pytest.raises(ValueError, match="ATTACHMENTS_KEY is shorter"):
            settings_for(database_url, attachments_url="file:///tmp", attachments_key="short")

    async def test_absent_attachments_are_absent_for_the_bytes_too(self, place: Place) -> None:
        await place.store.save_attachment(FileAttachment(id="own", name="n", mime_type="x/y"), ALICE)
        with pytest.raises(AttachmentNotFound):
            await place.attachments._objects.find("own")


async def _chunked(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 65_536):
        yield body[start : start + 65_536]


async def _raw_put(
    attachment: Attachment, header: str, host: str | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which the head of the upload has been sent."""
    assert attachment.upload_descriptor is not None
    parts = urlsplit(str(attachment.upload_descriptor.url))
    address = urlsplit(host) if host else parts
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode())
    return reader, writer


async def _nothing(place: Place) -> bool:
    return not place.files() and not await place.garbage()


async def _is_empty(container: dict[str, Any]) -> bool:
    return not container


async def _until(what: str, condition: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"never came true in {seconds} s: {what}"
        await asyncio.sleep(0.02)
