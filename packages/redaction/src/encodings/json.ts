/**
 * A value inside a JSON string as common encoders write it, and inside JSON that is itself a string of JSON (a log line
 * about a payload). Encoders differ in what they escape beyond `"`, `\` and control characters.
 */
export function jsonForms(value: string): string[] {
  const plain = JSON.stringify(value).slice(1, -1);
  const once = [
    plain,
    escapeAlso(plain, /[<>&\u2028\u2029]/g), // Go
    escapeAlso(plain, /[\u0080-\uffff]/g), // Python
    escapeAlso(plain, /[\u0080-\uffff]/g).replaceAll('/', '\\/'), // PHP
    plain.replaceAll('/', '\\/'),
    dotnet(value),
  ];
  const twice = once.map((text) => JSON.stringify(text).slice(1, -1));
  return [...once, ...twice];
}

function escapeAlso(text: string, characters: RegExp): string {
  return text.replace(characters, (character) => unicodeEscape(character));
}

/** .NET escapes quotes as code points too, with capital digits. */
function dotnet(value: string): string {
  const short: Readonly<Record<string, string>> = {
    '\\': '\\\\',
    '\n': '\\n',
    '\r': '\\r',
    '\t': '\\t',
    '\b': '\\b',
    '\f': '\\f',
  };
  let text = '';
  for (let index = 0; index < value.length; index++) {
    const character = value.charAt(index);
    if (character >= ' ' && character <= '~' && !escapedByDotnet.includes(character)) text += character;
    else text += short[character] ?? `\\u${unicodeEscape(character).slice(2).toUpperCase()}`;
  }
  return text;
}

const escapedByDotnet = '\\"\'<>&+`';

/** Without the `u` flag a character outside the basic plane arrives here as two surrogates, each an escape of its own. */
function unicodeEscape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
