/** A body is larger than it may be. */
export class TooLarge extends Error {}

/** The JSON of a small body, null where it is none. Throws TooLarge as soon as more has come than may be. */
export async function boundedJson(request: Request, maxBytes: number): Promise<unknown> {
  if (Number(request.headers.get("content-length")) > maxBytes) throw new TooLarge();
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  // Leaving the loop early cancels what is still to come.
  for await (const chunk of (request.body ?? []) as AsyncIterable<Uint8Array>) {
    bytes += chunk.byteLength;
    if (bytes > maxBytes) throw new TooLarge();
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString());
  } catch {
    return null;
  }
}
