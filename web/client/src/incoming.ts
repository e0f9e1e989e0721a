/** A request as fetch was called with it, in one shape. */
export interface Given {
  readonly url: string;
  readonly method: string;
  readonly headers: Headers;
  readonly body: string;
  readonly signal: AbortSignal | null;
}

/** A body that is no text is an empty one. */
export async function given(input: RequestInfo | URL, init: RequestInit): Promise<Given> {
  const request = input instanceof Request ? input : null;
  const body = init.body ?? (request === null ? null : await request.clone().text());
  return {
    url: "",
    method: (init.method ?? request?.method ?? "GET").toUpperCase(),
    headers: new Headers(init.headers ?? request?.headers),
    body: typeof body === "string" ? body : "",
    signal: init.signal ?? request?.signal ?? null,
  };
}
