/** How encoders of XML and HTML write the two quotes; some leave one or both as they are. */
const quotes: readonly (readonly [string, string])[] = [
  ['"', "'"],
  ['&quot;', "'"],
  ['&quot;', '&apos;'],
  ['&quot;', '&#39;'],
  ['&quot;', '&#x27;'],
  ['&#34;', '&#39;'],
  ['&#x22;', '&#x27;'],
];

/** A value inside XML or HTML, as text or as an attribute. */
export function markupForms(value: string): string[] {
  const text = value.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  return [text, text.replaceAll('>', '&gt;')].flatMap((escaped) =>
    quotes.map(([double, single]) => escaped.replaceAll('"', double).replaceAll("'", single)),
  );
}
