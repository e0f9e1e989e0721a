"""The least application with a WebSocket, for CHATKIT_APP."""

from __future__ import annotations

from fastapi import FastAPI, WebSocket

app = FastAPI(openapi_url=None)


@app.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)
