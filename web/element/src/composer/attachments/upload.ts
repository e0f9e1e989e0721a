import { ApiError } from "../../server/api.js";
import type { Attachment } from "../../server/protocol.js";
import type { Texts } from "../../texts/index.js";
import { ownOrigin } from "../../ui/dom.js";
import type { ComposerHost } from "../host.js";
import { UNKNOWN_TYPE } from "./rules.js";

type UploadTarget = NonNullable<Attachment["upload_descriptor"]>;

/** Uploads a file with the upload strategy of the `api` option. Throws ApiError. */
export function upload(file: File, host: ComposerHost, signal: AbortSignal): Promise<Attachment> {
  const { api } = host.options;
  const strategy = "url" in api ? api.uploadStrategy : undefined;
  return strategy?.type === "direct"
    ? inOneStep(file, strategy.uploadUrl, host, signal)
    : inTwoSteps(file, host, signal);
}

async function inOneStep(
  file: File,
  url: string,
  { api, texts }: ComposerHost,
  signal: AbortSignal,
): Promise<Attachment> {
  const body = new FormData();
  body.append("file", file, file.name);
  const response = await api.put(url, { method: "POST", body, signal });
  const said: unknown = await response.json().catch(() => null);
  if (!isAttachment(said)) throw new ApiError(response.status, "upload", texts.composer.uploadFailed);
  return said;
}

async function inTwoSteps(file: File, { api, texts }: ComposerHost, signal: AbortSignal): Promise<Attachment> {
  const params = { name: file.name, size: file.size, mime_type: file.type || UNKNOWN_TYPE };
  const attachment = await api.call<Attachment>("attachments.create", params);
  const { upload_descriptor: target } = attachment;
  if (!target) return attachment;
  try {
    signal.throwIfAborted();
    await put(target, file, texts, signal);
  } catch (error) {
    discard(attachment, api);
    throw error;
  }
  return attachment;
}

/** Deletes an attachment of no message on the server. A failure is ignored, because no message shows the attachment. */
export function discard({ id }: Attachment, api: ComposerHost["api"]): void {
  api.call("attachments.delete", { attachment_id: id }).catch(() => {});
}

/** Sends the bytes to the signed address that the server named. It gets no token, because it may be of another host. */
async function put(
  { url, method, headers }: UploadTarget,
  file: File,
  texts: Texts,
  signal: AbortSignal,
): Promise<void> {
  let response: Response;
  try {
    const init = { method, body: file, signal, credentials: "omit" } as const;
    response = await fetch(ownOrigin(url), { ...init, ...(headers && { headers }) });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ApiError(0, "network", texts.composer.uploadFailed);
  }
  if (response.ok) return;
  const said: { error?: { message?: string } } | null = await response.json().catch(() => null);
  throw new ApiError(response.status, "upload", said?.error?.message ?? texts.composer.uploadRefused);
}

function isAttachment(said: unknown): said is Attachment {
  return typeof said === "object" && said !== null && "id" in said && typeof said.id === "string";
}
