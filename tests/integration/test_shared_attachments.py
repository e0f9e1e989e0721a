"""Attachments that messages of several threads show: their bytes live as long as one of them does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from chatkit.server import ChatKitServer
from chatkit.store import AttachmentStore, NotFoundError
from chatkit.types import Attachment, FileAttachment, ImageAttachment

from relaykit.shared.errors import AttachmentInUse, DatabaseUnavailable
from relaykit.shared.identity import RequestContext
from relaykit.shared.settings import Settings
from relaykit.worker.reaper.sweeps import OLDEST, Sweeps
from tests.integration.persistence import ALICE, outside, thread, until_someone_waits_for_a_lock
from tests.integration.test_attachments import KEY, PNG, Place, _code, _message, place
from tests.integration.written import written
from tests.support.system import Caller, create, running

__all__ = ["place"]


async def sent(place: Place, attachment: Attachment) -> str:
    """The id of a new thread with a message that shows the attachment, as admission writes it."""
    metadata = thread()
    await place.store.save_thread(metadata, ALICE)
    copy = attachment.model_copy(update={"thread_id": metadata.id})
    await place.store.save_attachment(copy, ALICE)
    await place.store.add_thread_item(metadata.id, _message(metadata.id, copy), ALICE)
    return metadata.id


async def uploaded(place: Place) -> ImageAttachment:
    attachment = await place.create()
    await place.put(attachment)
    assert isinstance(attachment, ImageAttachment)
    return attachment


async def is_shown(place: Place, attachment: ImageAttachment) -> bool:
    """By its link, by its server, and after the sweep."""
    await place.attachments.sweep()
    link = (await place.http.get(str(attachment.preview_url))).status_code == 200
    try:
        read = await place.attachments.read(attachment.id, ALICE) == PNG
    except NotFoundError:
        read = False
    assert link == read
    assert (len(place.files()), await place.garbage()) == (int(link), 0)
    return link


async def forget(place: Place, *thread_ids: str) -> None:
    """As RETENTION_DAYS does."""
    for thread_id in thread_ids:
        await place.execute(
            "UPDATE threads SET updated_at = now() - interval '9 days' WHERE id = $1", thread_id
        )
    assert (await Sweeps(place.database).delete_threads(5, OLDEST, 100)).deleted == len(thread_ids)


async def delete(place: Place, *thread_ids: str) -> None:
    for thread_id in thread_ids:
        await place.store.delete_thread(thread_id, ALICE)


@pytest.mark.parametrize("remove", [delete, forget])
@pytest.mark.parametrize("gone", [[0], [1], [2], [0, 1], [2, 1], [0, 2]], ids=str)
async def test_it_goes_with_the_last_thread_that_shows_it(place: Place, remove: Any, gone: list[int]) -> None:
    """Whichever goes first, by the user or by its age."""
    attachment = await uploaded(place)
    threads = [await sent(place, attachment) for _ in range(3)]
    await remove(place, *(threads[number] for number in gone))
    assert await is_shown(place, attachment)
    await remove(place, *(threads[number] for number in range(3) if number not in gone))
    assert not await is_shown(place, attachment)


async def test_a_message_that_a_server_copies_into_a_thread_shows_it_too(place: Place) -> None:
    """As a fork does: by `store.add_thread_item`, and nothing else."""
    attachment = await uploaded(place)
    first, fork = await sent(place, attachment), thread()
    await place.store.save_thread(fork, ALICE)
    await place.store.add_thread_item(fork.id, _message(fork.id, attachment), ALICE)
    await delete(place, first)
    assert await is_shown(place, attachment)
    await delete(place, fork.id)
    assert not await is_shown(place, attachment)


async def test_a_message_that_a_server_writes_itself_sends_its_attachments(place: Place) -> None:
    """Its attachment is not deleted any more, nor swept, nor counted as unsent."""
    attachment, metadata = await uploaded(place), thread()
    await place.store.save_thread(metadata, ALICE)
    await place.store.add_thread_item(metadata.id, _message(metadata.id, attachment), ALICE)
    with pytest.raises(AttachmentInUse):
        await place.attachments.delete_attachment(attachment.id, ALICE)
    await place.execute("UPDATE attachments SET created_at = now() - interval '9 days'")
    assert await is_shown(place, attachment)
    assert await place.store.is_attachment_sent(attachment.id, ALICE)
    async with place.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM unsent_attachments") == 0
    await delete(place, metadata.id)
    assert not await is_shown(place, attachment)


async def test_what_the_release_before_has_sent_is_shown_on_where_this_one_sends_it_again(
    place: Place,
) -> None:
    attachment = await uploaded(place)
    first = await sent(place, attachment)
    await place.execute("DELETE FROM attachment_threads")
    second = await sent(place, attachment)
    await delete(place, first)
    assert await is_shown(place, attachment)
    await delete(place, second)
    assert not await is_shown(place, attachment)


async def test_threads_that_go_at_once_leave_no_bytes(place: Place) -> None:
    for _ in range(10):
        attachments = [await uploaded(place) for _ in range(2)]
        threads = [await sent(place, attachments[0]), await sent(place, attachments[1])]
        await place.store.save_attachment(attachments[0].model_copy(update={"thread_id": threads[1]}), ALICE)
        await place.store.save_attachment(attachments[1].model_copy(update={"thread_id": threads[0]}), ALICE)

        async def gone(thread_id: str) -> None:
            while True:
                try:
                    return await place.store.delete_thread(thread_id, ALICE)
                except NotFoundError:
                    return None
                except DatabaseUnavailable:  # a deadlock's victim: the same again will do
                    continue

        await asyncio.gather(*map(gone, threads))
        for attachment in attachments:
            with pytest.raises(NotFoundError):
                await place.attachments.read(attachment.id, ALICE)
    await place.attachments.sweep()
    assert (place.files(), await place.garbage()) == ([], 0)


async def test_a_message_that_takes_it_meanwhile_keeps_it(place: Place) -> None:
    """A deletion waits for what is being admitted, and is refused then."""
    attachment = await uploaded(place)
    async with place.database.transaction():
        await sent(place, attachment)
        deleting = asyncio.create_task(outside(place.attachments.delete_attachment, attachment.id, ALICE))
        await until_someone_waits_for_a_lock(place.database)
    with pytest.raises(AttachmentInUse):
        await deleting
    assert await is_shown(place, attachment)


class OwnAttachments(AttachmentStore[Any]):
    """A site's own, which deletes what it is told to."""

    deleted: list[str]

    def __init__(self) -> None:
        self.deleted = []

    async def delete_attachment(self, attachment_id: str, context: Any) -> None:
        self.deleted.append(attachment_id)


class Silent(ChatKitServer[Any]):
    """Never asked to answer: there is no worker."""

    def respond(self, thread: Any, input_user_message: Any, context: Any) -> Any:
        raise NotImplementedError


class WithOwnAttachments(Silent):
    def __init__(self, store: Any) -> None:
        super().__init__(store, OwnAttachments())


async def send(alice: Caller, request: dict[str, Any]) -> None:
    async with alice.open_stream(request) as response:
        assert response.status_code == 200, await response.aread()


@pytest.fixture
def with_attachments(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(
        update={
            "attachments_url": (tmp_path / "files").as_uri(),
            "attachments_key": KEY,
            "public_url": f"http://127.0.0.1:{settings.port}",
            "chatkit_server": f"{__name__}:Silent",
        }
    )


async def test_deleting_one_that_was_sent_is_409_and_its_message_keeps_it(
    with_attachments: Settings,
) -> None:
    """One that no message has taken is deleted; so is one whose thread is gone, with it."""
    file = {"name": "a.png", "size": len(PNG), "mime_type": "image/png"}
    async with running(with_attachments, workers=0) as system:
        alice = await system.caller()
        [first, unsent] = [await alice.ask({"type": "attachments.create", "params": file}) for _ in range(2)]
        for made in (first, unsent):
            assert (await alice.client.put(made["upload_descriptor"]["url"], content=PNG)).status_code == 204
        await send(alice, create("see", attachments=[first["id"]]))
        before = await written(with_attachments.database_url, with_attachments.redis_url)
        refused = await alice.post({"type": "attachments.delete", "params": {"attachment_id": first["id"]}})
        assert _code(refused) == (409, "attachment_in_use")
        assert await written(with_attachments.database_url, with_attachments.redis_url) == before
        assert (await alice.client.get(first["preview_url"])).content == PNG
        await alice.ask({"type": "attachments.delete", "params": {"attachment_id": unsent["id"]}})
        assert (await alice.client.get(unsent["preview_url"])).status_code == 404
        [listed] = (await alice.ask({"type": "threads.list", "params": {"limit": 5, "order": "desc"}}))[
            "data"
        ]
        await send(alice, create("again", attachments=[first["id"]]))
        await alice.ask({"type": "threads.delete", "params": {"thread_id": listed["id"]}})
        assert (await alice.client.get(first["preview_url"])).content == PNG


async def test_a_site_s_own_attachment_store_is_not_asked_to_delete_one_that_was_sent(
    settings: Settings,
) -> None:
    named = settings.model_copy(update={"chatkit_server": f"{__name__}:WithOwnAttachments"})
    servers: list[WithOwnAttachments] = []

    def server() -> WithOwnAttachments:
        servers.append(WithOwnAttachments(None))
        return servers[-1]

    async with running(named, server, workers=0) as system:
        alice = await system.caller()
        await send(alice, create("first"))
        [listed] = (await alice.ask({"type": "threads.list", "params": {"limit": 5, "order": "desc"}}))[
            "data"
        ]
        who = RequestContext(user_id="alice")
        store = servers[0].store
        for attachment_id, shown_in in (("atc_sent", listed["id"]), ("atc_unsent", None)):
            await store.save_attachment(
                FileAttachment(id=attachment_id, name="n", mime_type="text/plain", thread_id=shown_in), who
            )
        refused = await alice.post({"type": "attachments.delete", "params": {"attachment_id": "atc_sent"}})
        assert _code(refused) == (409, "attachment_in_use")
        await alice.ask({"type": "attachments.delete", "params": {"attachment_id": "atc_unsent"}})
        attachments = servers[0].attachment_store
        assert isinstance(attachments, OwnAttachments)
        assert attachments.deleted == ["atc_unsent"]
