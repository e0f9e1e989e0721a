"""Links to the previews of images: each of them ends, and reading its item or attachment gives a newer one."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Final

from chatkit.types import Attachment, ImageAttachment, ThreadItem, UserMessageItem
from pydantic import AnyUrl

from relaykit.shared.attachments.links import Grant, link
from relaykit.shared.owner import Owner

_LINK: Final = re.compile(
    r"/attachments/(atc_[0-9a-f]{32})\?(?:expires=[0-9]{1,12}&)?signature=[\w-]{43}", re.ASCII
)
"""The end of each link that we ever gave, whatever PUBLIC_URL and ATTACHMENTS_KEY were. Ids of that length are ours."""


@dataclass(frozen=True, slots=True)
class Previews:
    """Signs links that are good for `seconds` at most and for half of that at least; for ever where it is None.

    All links of half that time end together, so that every API host gives the same link and a browser keeps its copy.
    """

    key: str
    public_url: str
    seconds: int | None

    def url(self, attachment_id: str, owner: Owner) -> AnyUrl:
        """Good for the owner's attachment alone: of another owner's id it makes a link that no API accepts."""
        expires = None if self.seconds is None else _end_of_period(self.seconds)
        return AnyUrl(link(self.key, self.public_url, Grant("GET", attachment_id, owner, expires)))

    def renew_item(self, item: ThreadItem, owner: Owner) -> None:
        """Renews the links of a message's images."""
        if isinstance(item, UserMessageItem):
            for attachment in item.attachments:
                self.renew(attachment, owner)

    def renew(self, attachment: Attachment, owner: Owner) -> None:
        """Renews the link where it is one of ours; what a server has put in its place stays."""
        if not isinstance(attachment, ImageAttachment):
            return
        given = _LINK.search(str(attachment.preview_url))
        if given is not None and given[1] == attachment.id and given.end() == len(given.string):
            attachment.preview_url = self.url(attachment.id, owner)


def _end_of_period(seconds: int) -> int:
    half = seconds // 2
    return (int(time.time()) // half + 2) * half
