/** A value inside a shell word: between single quotes, between double quotes, in `$'...'`, or with backslashes. */
export function shellForms(value: string): string[] {
  return [
    value.replaceAll("'", `'\\''`),
    value.replaceAll("'", `'"'"'`),
    value.replace(/[\\"$`]/g, '\\$&'),
    value.replace(/[\\"$`!]/g, '\\$&'),
    value.replace(/[\\']/g, '\\$&').replaceAll('\n', '\\n').replaceAll('\r', '\\r').replaceAll('\t', '\\t'),
    value.replace(/[^A-Za-z0-9_@%+=:,./\n\x80-\u{10ffff}-]/gu, '\\$&'),
    value.replace(/[^A-Za-z0-9_@%+=:./\n\x80-\u{10ffff}-]/gu, '\\$&'),
  ];
}
