"""Attachments: two-phase upload over real HTTP, into a folder and an S3; signed, bounded, leaking nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from chatkit.server import ChatKitServer, NonStreamingResult
from chatkit.store import NotFoundError
from chatkit.types import Attachment, AttachmentCreateParams, FileAttachment, ImageAttachment
from fastapi import FastAPI

from api.attachments import attachments_router, content_disposition
from api.errors import install_error_handlers
from shared.attachment_objects import AttachmentObjects, open_object_store
from shared.attachments import ObjectAttachmentStore, attachment_rules, build_attachment_store
from shared.database import Database
from shared.errors import (
    AttachmentAlreadyUploaded,
    AttachmentNotFound,
    AttachmentNotUploaded,
    AttachmentRejected,
    SettingsError,
    StorageUnavailable,
)
from shared.settings import Settings
from shared.signing import Grant, link
from shared.store import PostgresStore
from tests.integration.http_app import serving
from tests.integration.persistence import ALICE, NOT_ALICE, settings_for, thread
from tests.integration.s3_server import s3_server

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
        self, size: int = len(PNG), mime_type: str = "image/png", name: str = "a.png"
    ) -> Attachment:
        params = AttachmentCreateParams(name=name, size=size, mime_type=mime_type)
        attachment = await self.attachments.create_attachment(params, ALICE)
        await self.store.save_attachment(attachment, ALICE)
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
        app = FastAPI()
        app.include_router(attachments_router(settings, database))
        install_error_handlers(app)
        url = await stack.enter_async_context(serving(app))
        settings = settings.model_copy(update={"public_url": url})
        http = await stack.enter_async_context(httpx2.AsyncClient())
        attachments = build_attachment_store(settings, database)
        assert attachments is not None
        yield Place(settings, database, folder, url, http, attachments, PostgresStore(database))


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

    async def test_the_preview_works_for_a_user_who_comes_back_after_days(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        attachment = await place.create()
        assert isinstance(attachment, ImageAttachment)
        await place.put(attachment)
        later = time.time() + 90 * 86_400
        monkeypatch.setattr("api.attachments.time.time", lambda: later)
        assert (await place.http.get(str(attachment.preview_url))).status_code == 200


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
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), 5)
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
            if url == good:
                continue  # a GET link has nothing but its signature
            response = await place.http.request(method, url, content=PNG if method == "PUT" else None)
            assert _code(response) == (404, "attachment_not_found"), url
        assert (await place.http.request(method, good, content=PNG)).status_code in (200, 204)

    async def test_a_link_whose_time_is_over(self, place: Place) -> None:
        attachment = await place.create()
        grant = Grant("PUT", attachment.id, "acme", "alice", int(time.time()) - 1)
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
        grant = Grant("GET", attachment.id, "acme", "alice", None)
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
        own = build_attachment_store(
            place.settings.model_copy(update={"chatkit_store": "own"}), place.database
        )
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
        for name, value in {
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }.items():
            monkeypatch.setenv(name, value)

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
            stored = await away.find(attachment.id)
            with pytest.raises(StorageUnavailable):
                await away.read(stored)
            with pytest.raises(StorageUnavailable):
                await away.write(dataclasses.replace(stored, object_key=None), _chunked(PNG))
            assert await place.garbage() == 1
            rules = attachment_rules(place.settings)
            assert rules is not None
            store = ObjectAttachmentStore(place.database, away, rules, sweep_unsent=True)
            await store.delete_attachment(attachment.id, ALICE)
            assert (len(place.files()), await place.garbage()) == (1, 2)
            with pytest.raises(StorageUnavailable):
                await store.sweep()
            await place.execute("UPDATE attachment_garbage SET due_at = now()")
            assert await place.attachments.sweep() == 2
            assert (place.files(), await place.garbage()) == ([], 0)


class TestSettings:
    async def test_without_a_url_there_is_no_store_and_no_route(self, database_url: str) -> None:
        settings = settings_for(database_url)
        database = Database(settings)
        assert build_attachment_store(settings, database) is None
        assert attachments_router(settings, database).routes == []

    @pytest.mark.parametrize(
        "url", ["ftp://x/y", "/tmp/x", "s3://", "az://container", "file:///proc/nothing/here"]
    )
    async def test_a_url_that_cannot_be_used_is_one_clear_line(self, database_url: str, url: str) -> None:
        settings = settings_for(database_url, attachments_url=url, attachments_key=KEY)
        with pytest.raises(SettingsError, match="ATTACHMENTS_URL") as raised:
            build_attachment_store(settings, Database(settings))
        assert "\n" not in raised.value.message

    async def test_where_links_cannot_be_made_the_start_fails(
        self, database_url: str, tmp_path: Path
    ) -> None:
        settings = settings_for(
            database_url, attachments_url=tmp_path.as_uri(), attachments_key=KEY, host="0.0.0.0"
        )
        with pytest.raises(SettingsError, match="PUBLIC_URL"):
            build_attachment_store(settings, Database(settings))

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


async def _raw_put(attachment: Attachment, header: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which the head of the upload has been sent."""
    assert attachment.upload_descriptor is not None
    parts = urlsplit(str(attachment.upload_descriptor.url))
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
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
