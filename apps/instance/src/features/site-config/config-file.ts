import { type FSWatcher, watch } from 'node:fs';
import { open } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import { follow, type ReadConfig } from './followed.ts';
import { hideSecrets } from './hidden-secrets.ts';
import { parseSiteConfig, SiteConfigError } from './parse.ts';
import type { SiteConfig } from './site-config.ts';

export interface ConfigFileOptions {
  /** A file of the operator's, only ever read. */
  file: string;
  log: Logger;
  /** How often the file is read even if no change was announced (network file systems and mounted volumes announce none). */
  rereadSeconds?: number;
}

/** Editors write in several operations; reading is put off until they are through. */
const settleMs = 100;
/** Nobody writes a configuration of this size by hand; a mistaken path must not fill the memory. */
const maxBytes = 1024 * 1024;

/**
 * Follows a file. A mistake in it stops the start; a later edit with a mistake is logged and the configuration in force
 * stays.
 * @throws SiteConfigError
 */
export async function openConfigFile({
  file,
  log,
  rereadSeconds = 5,
}: ConfigFileOptions): Promise<SiteConfig> {
  const readNow = async (before: ReadonlyMap<string, string>): Promise<ReadConfig> => {
    const text = (await readConfigFile(file)).replace(/^\uFEFF/, '');
    return { identity: file, values: parseSiteConfig(text, file), hidden: hideSecrets(text, before) };
  };
  const followed = follow(
    await readNow(new Map()),
    async (inForce) => {
      const read = await readNow(inForce.hidden.secrets);
      return isDeepStrictEqual(read, inForce) ? inForce : read;
    },
    log,
  );

  let settling: NodeJS.Timeout | undefined;
  const watcher = watchFile(file, log, () => {
    clearTimeout(settling);
    settling = setTimeout(followed.reload, settleMs);
  });
  const rereading = setInterval(followed.reload, rereadSeconds * 1000);
  rereading.unref();

  return {
    current: () => followed.current().values,
    reload: followed.reload,
    async show() {
      return { text: followed.current().hidden.text, file, latest: null };
    },
    history: undefined,
    async [Symbol.asyncDispose]() {
      watcher?.close();
      clearTimeout(settling);
      clearInterval(rereading);
      await followed.settled();
    },
  };
}

/** Watches the directory, not the file: editors replace the file. Without a watch the reading at intervals remains. */
function watchFile(path: string, log: Logger, onChange: () => void): FSWatcher | undefined {
  try {
    const name = basename(path);
    const watcher = watch(dirname(path), { persistent: false }, (_, changed) => {
      if (changed === null || changed === name) onChange();
    });
    watcher.on('error', (err) =>
      log.warn({ err, path }, 'stopped watching the site configuration; it is still read at intervals'),
    );
    return watcher;
  } catch (err) {
    log.warn({ err, path }, 'cannot watch the site configuration; it is still read at intervals');
    return undefined;
  }
}

/** @throws SiteConfigError */
export async function readConfigFile(path: string): Promise<string> {
  let text: string;
  try {
    await using file = await open(path, 'r');
    const { size } = await file.stat();
    if (size > maxBytes) throw new Error(`it has ${size} bytes, more than ${maxBytes}`);
    text = await file.readFile('utf8');
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new SiteConfigError(path, [`1: cannot be read: ${reason}`]);
  }
  return text;
}
