/** A value read backwards, by bytes and by characters (they differ outside ASCII). */
export function reversedForms(value: Uint8Array): Uint8Array[] {
  const byCharacter = [...Buffer.from(value).toString('utf8')].reverse().join('');
  return [Uint8Array.from(value).reverse(), Buffer.from(byCharacter, 'utf8')];
}
