import { forwardSigned } from "../../../../lib/forward";

interface Context {
  readonly params: Promise<{ id: string }>;
}

/** The bytes of an attachment, where PUBLIC_URL of Relaykit is this site's `/api`: its signed links lead here then. */
async function attachment(request: Request, { params }: Context): Promise<Response> {
  return forwardSigned(request, `/attachments/${encodeURIComponent((await params).id)}`);
}

export const GET = attachment;
export const PUT = attachment;
