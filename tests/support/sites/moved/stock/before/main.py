"""The application of ChatKit's documentation."""

from __future__ import annotations

from chat import GreeterServer
from chatkit.server import StreamingResult
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse
from memory_store import MemoryStore

app = FastAPI()
server = GreeterServer(MemoryStore())


@app.post("/chatkit")
async def chatkit(request: Request) -> Response:
    result = await server.process(await request.body(), context={})
    if isinstance(result, StreamingResult):
        return StreamingResponse(result, media_type="text/event-stream")
    return Response(content=result.json, media_type="application/json")


@app.get("/opening-hours")
async def opening_hours() -> dict[str, str]:
    return {"monday": "9 to 5"}


@app.get("/")
async def page() -> HTMLResponse:
    return HTMLResponse("<openai-chatkit></openai-chatkit>")
