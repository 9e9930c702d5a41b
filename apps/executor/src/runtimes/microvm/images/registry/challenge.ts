/** How a registry wants to be convinced, from its `WWW-Authenticate` header. */
export type Challenge =
  | { scheme: 'basic' }
  | { scheme: 'bearer'; realm: string; service: string | undefined };

/** The best of all challenges in the header (there may be several, and several headers), or undefined. */
export function parseChallenge(header: string | string[] | undefined): Challenge | undefined {
  const text = Array.isArray(header) ? header.join(', ') : (header ?? '');
  const schemes = [...text.matchAll(/(?:^|,)\s*(basic|bearer)(?=\s|,|$)/gi)];
  const found = schemes.map((match, index): Challenge | undefined => {
    if (match[1]?.toLowerCase() === 'basic') return { scheme: 'basic' };
    const end = schemes[index + 1]?.index ?? text.length;
    const parameters = parametersOf(text.slice(match.index + match[0].length, end));
    const realm = parameters.get('realm');
    return realm === undefined ? undefined : { scheme: 'bearer', realm, service: parameters.get('service') };
  });
  return found.find((one) => one?.scheme === 'bearer') ?? found.find((one) => one !== undefined);
}

function parametersOf(text: string): Map<string, string> {
  const pattern = /([a-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))/gi;
  return new Map(
    [...text.matchAll(pattern)].map(([, name = '', quoted, bare]) => [
      name.toLowerCase(),
      quoted === undefined ? (bare ?? '') : quoted.replace(/\\(.)/g, '$1'),
    ]),
  );
}
