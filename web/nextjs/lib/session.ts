import { cookies } from "next/headers";
import { settings } from "./settings";

const MAX_NAME_CHARS = 100;
const JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

/** Over TLS a browser takes a cookie of this prefix from this host alone, and no other page can plant one. */
const cookieName = (): string => (settings.isCookieSecure ? "__Host-session" : "session");

const attributes = () => ({ httpOnly: true, secure: settings.isCookieSecure, sameSite: "lax", path: "/" }) as const;

/**
 * The caller's token, from the cookie that JavaScript cannot read; null where nobody is signed in. A cookie that holds
 * something else than a token, a line break for instance, is no session.
 */
export async function sessionToken(): Promise<string | null> {
  const value = (await cookies()).get(cookieName())?.value ?? "";
  return JWT.test(value) ? value : null;
}

/** Who is signed in, for the page to show. Unverified: the API looks at the token's signature, at each request. */
export async function sessionUser(): Promise<string | null> {
  const token = await sessionToken();
  const claims = token === null ? null : claimsOf(token);
  if (claims === null) return null;
  const isOver = typeof claims.exp === "number" && claims.exp * 1000 <= Date.now();
  return typeof claims.sub === "string" && !isOver ? claims.sub : null;
}

/** Null of a cookie that holds something else. */
function claimsOf(token: string): { readonly sub?: unknown; readonly exp?: unknown } | null {
  try {
    return JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());
  } catch {
    return null;
  }
}

/**
 * Signs in, and keeps the token in the cookie; false where the issuer refuses. Local mode's own issuer believes anyone:
 * a site puts the exchange with its identity provider here.
 */
export async function signIn(user: string): Promise<boolean> {
  const name = user.trim().slice(0, MAX_NAME_CHARS);
  if (name === "") return false;
  const response = await fetch(`${settings.apiUrl}/dev/token`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ sub: name, ttl_seconds: 3600 }),
    cache: "no-store",
  });
  if (!response.ok) return false;
  const { access_token, expires_in } = await response.json();
  (await cookies()).set(cookieName(), access_token, { ...attributes(), maxAge: expires_in });
  return true;
}

/**
 * The browser forgets the token. The token itself stays good until its end, for whoever has a copy of it: a site whose
 * identity provider can revoke tokens does it here.
 */
export async function signOut(): Promise<void> {
  // With the attributes it was set with: without `Secure` a browser does not take this for a cookie of the same name.
  (await cookies()).set(cookieName(), "", { ...attributes(), maxAge: 0 });
}
