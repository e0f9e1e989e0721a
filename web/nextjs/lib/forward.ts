import { refusal } from "./refusal";
import { isForeign } from "./same_site";
import { sessionToken } from "./session";
import { settings } from "./settings";

/** The header fields that the API gets. A site adds those that its CONTEXT_HEADERS names. The cookie stays here. */
const REQUEST_HEADERS = [
  "accept",
  "accept-language",
  "chatkit-frame-instance-id",
  "content-type",
  "idempotency-key",
  "last-event-id",
  "relaykit-max-attempts",
  "relaykit-resume",
];
/**
 * The header fields that the browser gets. The last three keep a user's upload from ever running as a page of this
 * site.
 */
const RESPONSE_HEADERS = [
  "allow",
  "retry-after",
  "x-run-id",
  "content-type",
  "content-disposition",
  "content-security-policy",
  "cross-origin-resource-policy",
  "x-content-type-options",
];
const NO_BODY = new Set([204, 304]);

/**
 * Passes the request on to Relaykit with the token from the cookie, and passes the answer back as it arrives. A stream
 * is not held back, its ids go through, and the request to the API ends when the browser leaves.
 */
export async function forward(request: Request, path: string): Promise<Response> {
  if (isForeign(request)) return refusal(403, "cross_site", "This request came from another site.");
  const token = await sessionToken();
  if (token === null) return refusal(401, "unauthenticated", "Sign in first.");
  return pass(request, path, new Headers({ authorization: `Bearer ${token}` }));
}

/**
 * Passes on a request for a link that Relaykit has signed. It needs no token, because the widget loads it in another
 * site's frame.
 */
export function forwardSigned(request: Request, path: string): Promise<Response> {
  return pass(request, path, new Headers());
}

async function pass(request: Request, path: string, headers: Headers): Promise<Response> {
  for (const name of REQUEST_HEADERS) {
    const value = request.headers.get(name);
    if (value !== null) headers.set(name, value);
  }
  let answer: Response;
  try {
    answer = await fetch(`${settings.apiUrl}${path}${new URL(request.url).search}`, {
      method: request.method,
      headers,
      body: request.body,
      // fetch requires this for a body that is a stream.
      ...(request.body === null ? {} : { duplex: "half" }),
      redirect: "manual",
      cache: "no-store",
      signal: request.signal,
    } as RequestInit);
  } catch (error) {
    if (request.signal.aborted) throw error;
    console.error("relaykit cannot be reached", { path, error: (error as Error).message });
    return refusal(502, "bad_gateway", "The chat cannot be reached.");
  }
  return new Response(NO_BODY.has(answer.status) ? null : answer.body, {
    status: answer.status,
    headers: passed(answer.headers),
  });
}

function passed(given: Headers): Headers {
  // `no-transform` keeps proxies from compressing the stream, which would hold it back.
  const headers = new Headers({ "cache-control": "no-store, no-transform", "x-accel-buffering": "no" });
  for (const name of RESPONSE_HEADERS) {
    const value = given.get(name);
    if (value !== null) headers.set(name, value);
  }
  return headers;
}
