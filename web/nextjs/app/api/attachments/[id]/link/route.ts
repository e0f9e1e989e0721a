import { forward } from "../../../../../lib/forward";

export async function GET(request: Request, { params }: { params: Promise<{ id: string }> }): Promise<Response> {
  return forward(request, `/attachments/${encodeURIComponent((await params).id)}/link`);
}
