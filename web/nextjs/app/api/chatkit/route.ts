import { forward } from "../../../lib/forward";

export const POST = (request: Request): Promise<Response> => forward(request, "/chatkit");
