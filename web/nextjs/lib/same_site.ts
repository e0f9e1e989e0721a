/**
 * Whether another site made the browser send the request. The browser adds the cookie by itself, so this check protects
 * the user's chat from foreign pages, besides `SameSite`. Source: https://web.dev/articles/fetch-metadata
 */
export function isForeign(request: Request): boolean {
  const site = request.headers.get("sec-fetch-site");
  if (site !== null) return site !== "same-origin" && site !== "none";
  // An older browser has no such field, but it names the origin of each request that can change data.
  const origin = request.headers.get("origin");
  if (origin === null) return false;
  return !URL.canParse(origin) || new URL(origin).host !== request.headers.get("host");
}
