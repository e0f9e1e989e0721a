/**
 * What the server offers in this page: its attribute `relaykit_page_options`, with ChatKit's own `models` and `tools`, with
 * `dictation`, and with entities to mention, each with a `description` that its preview shows.
 */

const MAX_FOUND = 20;

/** The options of the chat that come from the server; none where it offers nothing. */
export async function offeredOptions() {
  const response = await fetch("/demo/options.json");
  const { models, tools, dictation, entities } = response.ok ? await response.json() : {};
  return {
    composer: { ...(models && { models }), ...(tools && { tools }), ...(dictation && { dictation: { enabled: true } }) },
    ...(entities?.length && { entities: entityOptions(entities) }),
  };
}

function entityOptions(entities) {
  return {
    showComposerMenu: true,
    onTagSearch: async (query) => {
      const words = query.toLowerCase();
      const found = entities.filter(({ id, title }) => `${title} ${id}`.toLowerCase().includes(words));
      return found.slice(0, MAX_FOUND).map(({ description, ...entity }) => entity);
    },
    onRequestPreview: async ({ id, title }) => ({ preview: preview(entities, id, title) }),
  };
}

/** A source of an answer is an entity as well: a section of one, whose id has an anchor behind that of the entity. */
function preview(entities, id, title) {
  const known = entities.find((entity) => entity.id === id.split("#")[0]);
  const lines = known ? [known.description, known.id] : [id];
  return {
    type: "Basic",
    padding: 3,
    gap: 1,
    children: [
      { type: "Text", value: title, weight: "semibold" },
      ...lines.filter(Boolean).map((value) => ({ type: "Caption", value })),
    ],
  };
}
