/** The arguments of a call of fetch, in one shape. */
export interface FetchRequest {
  readonly url: string;
  readonly method: string;
  readonly headers: Headers;
  readonly body: string;
  readonly signal: AbortSignal | null;
}

/** Reads the arguments of a call of fetch. A body that is not text counts as empty. */
export async function readRequest(input: RequestInfo | URL, init: RequestInit): Promise<FetchRequest> {
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
