"""A small S3 on a real socket: objects, multipart uploads, and a list of uploads that were never finished."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4
from xml.sax.saxutils import escape

from fastapi import FastAPI, Request, Response

from tests.integration.http_app import serving

XML = '<?xml version="1.0" encoding="UTF-8"?>'


@dataclass
class S3:
    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    unfinished: dict[str, dict[int, bytes]] = field(default_factory=dict)
    sent: list[int] = field(default_factory=list)
    """Of each object that was read: its bytes."""
    kept: set[str] = field(default_factory=set)
    """Objects whose removal is refused, as by a lock or a policy that holds for them alone."""


@asynccontextmanager
async def s3_server() -> AsyncIterator[S3]:
    s3 = S3()
    async with serving(_app(s3)) as s3.url:
        yield s3


def _app(s3: S3) -> FastAPI:
    app = FastAPI()

    @app.post("/{bucket}")
    async def delete_objects(request: Request) -> Response:
        keys = re.findall(r"<Key>(.*?)</Key>", (await request.body()).decode())
        said = ""
        for key in keys:
            if key in s3.kept:
                said += f"<Error><Key>{key}</Key><Code>AccessDenied</Code><Message>locked</Message></Error>"
            else:
                s3.objects.pop(key, None)
                said += f"<Deleted><Key>{key}</Key></Deleted>"
        return _xml(f"<DeleteResult>{said}</DeleteResult>")

    @app.post("/{bucket}/{key:path}")
    async def post(key: str, request: Request) -> Response:
        if "uploads" in request.query_params:
            upload = uuid4().hex
            s3.unfinished[upload] = {}
            return _xml(
                f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            )
        parts = s3.unfinished.pop(request.query_params["uploadId"])
        s3.objects[key] = b"".join(parts[number] for number in sorted(parts))
        etag = _etag(s3.objects[key])
        return _xml(
            f"<CompleteMultipartUploadResult><ETag>{escape(etag)}</ETag></CompleteMultipartUploadResult>"
        )

    @app.put("/{bucket}/{key:path}")
    async def put(key: str, request: Request) -> Response:
        body = await request.body()
        if "uploadId" in request.query_params:
            s3.unfinished[request.query_params["uploadId"]][int(request.query_params["partNumber"])] = body
        else:
            s3.objects[key] = body
        return Response(headers={"ETag": _etag(body)})

    @app.get("/{bucket}/{key:path}")
    async def get(key: str) -> Response:
        if key not in s3.objects:
            return _xml("<Error><Code>NoSuchKey</Code></Error>", 404)
        body = s3.objects[key]
        s3.sent.append(len(body))
        headers = {"ETag": _etag(body), "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        return Response(body, headers=headers)

    @app.delete("/{bucket}/{key:path}")
    async def abort(key: str, request: Request) -> Response:
        s3.unfinished.pop(request.query_params["uploadId"], None)
        return Response(status_code=204)

    return app


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()}"'


def _xml(content: str, status: int = 200) -> Response:
    return Response(XML + content, status, media_type="application/xml")
