/** The extensions of the executor protocol that Kiln knows. A peer lists those that it speaks; each is used only with a peer that listed it. */
export const extensionNames = [
  'long-poll',
  'attempt',
  'confirm',
  'log-append',
  'cancel-push',
  'limits',
  'release',
  'usage',
  'fleet',
] as const;
export type ExtensionName = (typeof extensionNames)[number];

/** Response header in which an instance lists its extensions, separated by `, `. */
export const extensionsHeader = 'Kiln-Extensions';
/** Response header with Kiln's own version. */
export const versionHeader = 'Kiln-Version';

export function parseExtensions(names: Iterable<string>): ReadonlySet<ExtensionName> {
  const known: ReadonlySet<string> = new Set(extensionNames);
  return new Set(
    [...names].map((name) => name.trim()).filter((name): name is ExtensionName => known.has(name)),
  );
}

export const maxLongPollSeconds = 60;
export const maxHeartbeatWaitSeconds = 10;
