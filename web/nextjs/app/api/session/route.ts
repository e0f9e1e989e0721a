import { boundedJson, TooLarge } from "../../../lib/bounded_json";
import { refusal } from "../../../lib/refusal";
import { isForeign } from "../../../lib/same_site";
import { signIn, signOut } from "../../../lib/session";

/** The longest body in bytes: a name in JSON. */
const MAX_BODY_BYTES = 4_096;

const foreign = (): Response => refusal(403, "cross_site", "This request came from another site.");

export async function POST(request: Request): Promise<Response> {
  if (isForeign(request)) return foreign();
  let given: unknown;
  try {
    given = await boundedJson(request, MAX_BODY_BYTES);
  } catch (error) {
    if (!(error instanceof TooLarge)) throw error;
    return refusal(413, "body_too_large", "A sign-in is smaller than that.");
  }
  const user = (given as { user?: unknown } | null)?.user;
  if (typeof user !== "string" || !(await signIn(user))) return refusal(401, "unauthenticated", "Not signed in.");
  return new Response(null, { status: 204 });
}

export async function DELETE(request: Request): Promise<Response> {
  if (isForeign(request)) return foreign();
  await signOut();
  return new Response(null, { status: 204 });
}
