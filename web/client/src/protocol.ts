/** The request types of the ChatKit protocol that are answered with a stream (openai-chatkit, `StreamingReq`). */
const STREAMING = new Set([
  "threads.create",
  "threads.add_user_message",
  "threads.add_client_tool_output",
  "threads.add_structured_input",
  "threads.retry_after_item",
  "threads.custom_action",
]);

/** The request types that may reach the server twice without harm. */
const REPEATABLE = new Set([
  "threads.get_by_id",
  "threads.list",
  "items.list",
  "threads.update",
  "threads.delete",
  "attachments.create",
  "attachments.delete",
]);

/** The request types that delete. A repeated one may get 404, which means that an earlier try succeeded. */
const DELETING = new Set(["threads.delete", "attachments.delete"]);

/** The custom action that `resumeInWidget` may send through the stock widget. It never reaches the server. */
export const RESUME_ACTION = "relaykit.resume";

/** A ChatKit request, with the fields that the client reads. */
export interface ChatKitRequest {
  readonly type: string;
  readonly params?: Record<string, unknown> | undefined;
  readonly metadata?: Record<string, unknown> | undefined;
}

export const isStreaming = (type: string): boolean => STREAMING.has(type);
export const isRepeatable = (type: string): boolean => REPEATABLE.has(type);
export const isDeleting = (type: string): boolean => DELETING.has(type);

/** The request in a body; null where the body is not a ChatKit request, such as that of an upload. */
export function parseRequest(body: unknown): ChatKitRequest | null {
  if (typeof body !== "string") return null;
  try {
    const request: unknown = JSON.parse(body);
    return isRecord(request) && typeof request.type === "string" ? (request as unknown as ChatKitRequest) : null;
  } catch {
    return null;
  }
}

/**
 * The request with `metadata` in both of its places: at the top, which every type has, and in `params.input`, which
 * only messages have. Metadata that the request has already win.
 */
export function withMetadata(request: ChatKitRequest, metadata: Record<string, unknown>): ChatKitRequest {
  const { params } = request;
  const input = params?.input;
  return {
    ...request,
    metadata: { ...metadata, ...request.metadata },
    ...(isRecord(input)
      ? { params: { ...params, input: { ...input, metadata: { ...metadata, ...asRecord(input.metadata) } } } }
      : {}),
  };
}

export const isToolOutput = ({ type }: ChatKitRequest): boolean => type === "threads.add_client_tool_output";

/** The output of a client tool with an error in the place of its result, which the server has refused. */
export function withErrorForResult(request: ChatKitRequest, reason: string): ChatKitRequest {
  const error = `The result of the tool could not be sent: ${reason}`;
  return { ...request, params: { ...request.params, result: { error } } };
}

export function threadIdOf(request: ChatKitRequest): string | null {
  const id = request.params?.thread_id;
  return typeof id === "string" ? id : null;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export const asRecord = (value: unknown): Record<string, unknown> => (isRecord(value) ? value : {});

/** The run that the page asks to follow again with a custom action; null for every other request. */
export function resumedRunId(request: ChatKitRequest): string | null {
  if (request.type !== "threads.custom_action") return null;
  const action = asRecord(request.params?.action);
  const runId = asRecord(action.payload).run_id;
  return action.type === RESUME_ACTION && typeof runId === "string" ? runId : null;
}
