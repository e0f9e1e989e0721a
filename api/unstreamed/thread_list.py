"""`threads.list` by the threads' last use, which a client asks for with a parameter of ours."""

from __future__ import annotations

import json
from typing import Any, Final

from relaykit.api.admission.parse import ListByUseParams
from relaykit.shared.errors import InvalidRequest
from relaykit.shared.site.user_server import UserServer
from relaykit.shared.threads.pages import UseCursor
from relaykit.shared.threads.store import PostgresStore

DEFAULT_THREADS: Final = 20
"""The SDK's."""

_LISTING: Final = frozenset({"_process_non_streaming", "_to_thread_response", "_serialize"})
"""A server that has its own of these lists its threads itself."""


def lists_by_use(user: UserServer) -> bool:
    """Whether the order is ours to give: the store is ours, and the site's code has no part in the list."""
    store = user.our_store
    is_ours = store is not None and type(store).load_threads is PostgresStore.load_threads
    return is_ours and not user.own_methods & _LISTING


async def list_by_use(user: UserServer, params: ListByUseParams, context: Any) -> bytes:
    """The page as the SDK writes it, and with each thread `active_at`. Raises InvalidRequest."""
    assert user.our_store is not None
    try:
        after = None if params.after is None else UseCursor.parse(params.after)
    except ValueError:
        raise InvalidRequest(locations=["params.after: not a cursor of this order"]) from None
    page = await user.our_store.load_threads_by_use(params.limit or DEFAULT_THREADS, after, context)
    server = user.server
    threads = [
        json.loads(server._serialize(server._to_thread_response(used.thread)))
        | {"active_at": used.used_at.isoformat()}
        for used in page.threads
    ]
    answer: dict[str, Any] = {"data": threads, "has_more": page.after is not None}
    if page.after is not None:
        answer["after"] = str(page.after)
    return json.dumps(answer).encode()
