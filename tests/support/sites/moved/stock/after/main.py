"""The application of ChatKit's documentation, without its route for the chat."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

app = FastAPI()


@app.get("/opening-hours")
async def opening_hours() -> dict[str, str]:
    return {"monday": "9 to 5"}


@app.get("/")
async def page() -> HTMLResponse:
    return HTMLResponse("<openai-chatkit></openai-chatkit>")
