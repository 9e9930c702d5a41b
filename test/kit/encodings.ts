/** How programs write a text, each by its name. Written independently of what masks secrets in logs. */
export const encodings: Readonly<Record<string, (text: string) => Buffer>> = {
  raw: (text) => Buffer.from(text),
  base64: (text) => base64(text, 0),
  'base64 after one byte': (text) => base64(text, 1),
  'base64 after two bytes': (text) => base64(text, 2),
  base64url: (text) => Buffer.from(base64(text, 0).toString().replaceAll('+', '-').replaceAll('/', '_')),
  hex: (text) => Buffer.from(Buffer.from(text).toString('hex')),
  'hex in capitals': (text) => Buffer.from(Buffer.from(text).toString('hex').toUpperCase()),
  'URL component': (text) => Buffer.from(encodeURIComponent(text)),
  'URL component in small letters': (text) =>
    Buffer.from(encodeURIComponent(text).replace(/%../g, (code) => code.toLowerCase())),
  form: (text) => Buffer.from(new URLSearchParams({ v: text }).toString().slice(2)),
  JSON: (text) => Buffer.from(json(text)),
  'JSON in JSON': (text) => Buffer.from(json(json(text))),
  'JSON in ASCII': (text) => Buffer.from(ascii(json(text))),
  XML: (text) =>
    Buffer.from(
      text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;'),
    ),
  'single quotes of a shell': (text) => Buffer.from(text.replaceAll("'", "'\\''")),
  'double quotes of a shell': (text) => Buffer.from(text.replace(/["$\\`]/g, '\\$&')),
  'SQL string': (text) => Buffer.from(text.replaceAll("'", "''")),
  'escaped bytea': (text) => Buffer.from(escapedBytea(text)),
  'COPY line': (text) => Buffer.from(text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')),
  backwards: (text) => Buffer.from([...text].reverse().join('')),
  'bytes backwards': (text) => Buffer.from(text).reverse(),
  'UTF-16': (text) => Buffer.from(text, 'utf16le'),
  'UTF-16 of the network': (text) => Buffer.from(text, 'utf16le').swap16(),
};

/** What the text alone determines, at this distance from a 3-byte boundary. */
function base64(text: string, shift: number): Buffer {
  const bytes = Buffer.concat([Buffer.alloc(shift), Buffer.from(text)]);
  const first = Math.ceil((shift * 4) / 3);
  return Buffer.from(bytes.toString('base64').slice(first, Math.floor((bytes.length * 4) / 3)));
}

function json(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

function ascii(text: string): string {
  return text.replace(
    /[\x80-\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function escapedBytea(text: string): string {
  return [...Buffer.from(text)]
    .map((byte) => {
      if (byte === 0x5c) return '\\\\';
      return byte < 0x20 || byte > 0x7e
        ? `\\${byte.toString(8).padStart(3, '0')}`
        : String.fromCharCode(byte);
    })
    .join('');
}
