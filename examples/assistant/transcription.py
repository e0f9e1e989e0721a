"""Speech as text, for the composer's microphone."""

from __future__ import annotations

import logging

from chatkit.types import AudioInput
from fastapi import HTTPException
from openai import APIError, AsyncOpenAI

from relaykit.examples.assistant.untrusted import one_line

logger = logging.getLogger(__name__)

MAX_AUDIO_BYTES = 25 * 1024 * 1024
"""What OpenAI's service takes."""
MAX_TEXT_CHARS = 8_000
TIMEOUT_SECONDS = 60.0
SUFFIXES = {"audio/webm": "webm", "audio/ogg": "ogg", "audio/mp4": "mp4"}
"""The service tells the format by the file's name."""


async def transcribed(audio: AudioInput, client: AsyncOpenAI | None, model: str) -> str:
    """What was said; without a client, a sentence about the recording in its place.

    Raises HTTPException with words for the user.
    """
    suffix = SUFFIXES.get(audio.media_type)
    if suffix is None:
        raise HTTPException(415, "Recordings of this kind cannot be turned into text.")
    if not audio.data or len(audio.data) > MAX_AUDIO_BYTES:
        raise HTTPException(400, "The recording is empty or too long.")
    if client is None:
        return f"This is a recording of {len(audio.data)} bytes."
    try:
        answer = await client.with_options(max_retries=0).audio.transcriptions.create(
            model=model,
            file=(f"speech.{suffix}", audio.data, audio.media_type),
            timeout=TIMEOUT_SECONDS,
        )
    except APIError as error:
        logger.warning("no text for a recording: %s", type(error).__name__)
        raise HTTPException(503, "Speech cannot be turned into text at the moment.") from error
    return one_line(answer.text, MAX_TEXT_CHARS)
