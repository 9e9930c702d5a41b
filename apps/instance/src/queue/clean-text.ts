/** Text as Postgres takes it: no NUL characters, no halves of surrogate pairs. They become U+FFFD. */
export function cleanText(text: string): string {
  return text.toWellFormed().replaceAll('\u0000', '\ufffd');
}

/** The same for every string inside a value that is stored as JSON. */
export function cleanJSON(value: unknown): string {
  return JSON.stringify(value, (_key, inner) => (typeof inner === 'string' ? cleanText(inner) : inner));
}
