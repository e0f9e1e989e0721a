import { forward } from "../../../../../lib/forward";

export async function POST(request: Request, { params }: { params: Promise<{ id: string }> }): Promise<Response> {
  return forward(request, `/runs/${encodeURIComponent((await params).id)}/withdraw`);
}
