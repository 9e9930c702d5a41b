/** Punctuation that an encoder leaves as it is. Everything but letters and digits is percent-encoded otherwise. */
const unescaped = {
  component: "-._~!*'()", // encodeURIComponent
  strict: '-._~', // RFC 3986; Go's QueryEscape, Python's quote(safe='')
  path: '-._~/', // Python's quote
  form: '-._*', // HTML forms, Java's URLEncoder
  whole: "-._~!*'();,/?:@&=+$#", // encodeURI
  segment: '-._~$&+:=@', // Go's PathEscape
  userinfo: '-._~$&+,;=', // Go's Userinfo
  urlUserinfo: "-._~!$&'()*+,%", // user and password of a WHATWG URL
} as const;

/** A value as URLs and HTML forms carry it: percent-encoded in upper and lower case, spaces as `%20` and `+`. */
export function urlForms(value: string): string[] {
  const bytes = Buffer.from(value, 'utf8');
  // Most values give the same text with most of the sets.
  const encoded = new Set(Object.values(unescaped).map((safe) => percentEncode(bytes, safe)));
  return [...encoded].flatMap((upper) => {
    const lower = upper.replace(/%[0-9A-F]{2}/g, (code) => code.toLowerCase());
    return [upper, lower].flatMap((text) => [text, text.replaceAll('%20', '+')]);
  });
}

function percentEncode(bytes: Uint8Array, safe: string): string {
  const forms = Array.from({ length: 256 }, (_, byte) => {
    const character = String.fromCharCode(byte);
    const plain = byte < 0x80 && (/[A-Za-z0-9]/.test(character) || safe.includes(character));
    return plain ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  });
  let text = '';
  for (const byte of bytes) text += forms[byte];
  return text;
}
