import { forward } from "../../../../../lib/forward";

export async function GET(request: Request, { params }: { params: Promise<{ id: string }> }): Promise<Response> {
  return forward(request, `/threads/${encodeURIComponent((await params).id)}/marks`);
}
