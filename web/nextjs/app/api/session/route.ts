import { refusal } from "../../../lib/forward";
import { isForeign } from "../../../lib/same_site";
import { signIn, signOut } from "../../../lib/session";

const foreign = (): Response => refusal(403, "cross_site", "This request came from another site.");

export async function POST(request: Request): Promise<Response> {
  if (isForeign(request)) return foreign();
  const given: unknown = await request.json().catch(() => null);
  const user = (given as { user?: unknown } | null)?.user;
  if (typeof user !== "string" || !(await signIn(user))) return refusal(401, "unauthenticated", "Not signed in.");
  return new Response(null, { status: 204 });
}

export async function DELETE(request: Request): Promise<Response> {
  if (isForeign(request)) return foreign();
  await signOut();
  return new Response(null, { status: 204 });
}
