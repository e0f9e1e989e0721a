/**
 * Whether another site made the browser send this. The cookie comes along by itself, so this is what stands between a
 * foreign page and the user's chat, besides `SameSite`. Source: https://web.dev/articles/fetch-metadata
 */
export function isForeign(request: Request): boolean {
  const site = request.headers.get("sec-fetch-site");
  if (site !== null) return site !== "same-origin" && site !== "none";
  // An older browser: it says at least where a request that can change something comes from.
  const origin = request.headers.get("origin");
  if (origin === null) return false;
  return !URL.canParse(origin) || new URL(origin).host !== request.headers.get("host");
}
