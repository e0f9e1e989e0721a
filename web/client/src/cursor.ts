const CURSOR = /^(\d+)-(\d+)$/;

/**
 * Whether the entry `id` comes after `cursor`. Both are `<attempt>-<seq>`, compared as two numbers. An id of another
 * form comes after every cursor, because its order is unknown and no event may be dropped for that.
 */
export function isAfter(id: string, cursor: string | null): boolean {
  const [left, right] = [CURSOR.exec(id), CURSOR.exec(cursor ?? "")];
  if (left === null || right === null) return true;
  const attempts = Number(left[1]) - Number(right[1]);
  return attempts > 0 || (attempts === 0 && Number(left[2]) > Number(right[2]));
}
