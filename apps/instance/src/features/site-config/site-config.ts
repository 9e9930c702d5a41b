import { randomBytes } from 'node:crypto';
import { type FSWatcher, watch } from 'node:fs';
import { open } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Logger } from 'pino';
import { parseSiteConfig, SiteConfigError } from './parse.ts';
import type { SiteConfigValues } from './schema.ts';

/** The site configuration, followed while the instance runs. */
export interface SiteConfig extends AsyncDisposable {
  /** What is in force now. Read it for each use: it changes without a restart. */
  current(): SiteConfigValues;
  /** Reads the file again now; edits are found without it within seconds. */
  reload(): Promise<void>;
  readonly path: string;
}

export interface SiteConfigOptions {
  dataDirectory: string;
  /** A file of the operator's, only ever read. Without it `DIR/site-config.jsonc`, which is made at the first start. */
  file?: string | undefined;
  log: Logger;
  /** How often the file is read even if no change was announced (network file systems and mounted volumes announce none). */
  rereadSeconds?: number;
}

/** Editors write in several operations; reading is put off until they are through. */
const settleMs = 100;
/** Nobody writes a configuration of this size by hand; a mistaken path must not fill the memory. */
const maxBytes = 1024 * 1024;

/**
 * Opens the site configuration. A mistake in it stops the start; a later edit with a mistake is logged and the
 * configuration in force stays.
 * @throws SiteConfigError
 */
export async function openSiteConfig(options: SiteConfigOptions): Promise<SiteConfig> {
  const { log, rereadSeconds = 5 } = options;
  const path = options.file ?? join(options.dataDirectory, 'site-config.jsonc');
  if (options.file === undefined && (await writeFirstConfig(path))) {
    log.info({ path }, 'made the site configuration, with a new shared secret for executors');
  }
  let text = await readConfig(path);
  let values = parseSiteConfig(text, path);
  let reportedProblem: string | undefined;
  let reading: Promise<void> | undefined;

  function reload(): Promise<void> {
    reading ??= read().finally(() => {
      reading = undefined;
    });
    return reading;
  }

  async function read(): Promise<void> {
    try {
      const newText = await readConfig(path);
      if (newText === text && reportedProblem === undefined) return;
      values = parseSiteConfig(newText, path);
      if (newText !== text) log.info({ path }, 'applied the changed site configuration');
      text = newText;
      reportedProblem = undefined;
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error);
      if (problem !== reportedProblem) {
        log.error(
          { path, problem },
          'the site configuration could not be read again; the previous one stays in force',
        );
      }
      reportedProblem = problem;
    }
  }

  let settling: NodeJS.Timeout | undefined;
  const watcher = watchFile(path, log, () => {
    clearTimeout(settling);
    settling = setTimeout(reload, settleMs);
  });
  const rereading = setInterval(reload, rereadSeconds * 1000);
  rereading.unref();

  return {
    path,
    current: () => values,
    reload,
    async [Symbol.asyncDispose]() {
      watcher?.close();
      clearTimeout(settling);
      clearInterval(rereading);
      await reading;
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

async function readConfig(path: string): Promise<string> {
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

/** @returns whether the file was made; false: it was there */
async function writeFirstConfig(path: string): Promise<boolean> {
  const text = `// The site configuration. Comments and trailing commas are allowed; changes apply without a restart.
{
  // The shared secret of executors: the value of their EXECUTOR_FRONTEND_PASSWORD.
  "executors.accessToken": ${JSON.stringify(randomBytes(32).toString('hex'))},
}
`;
  try {
    await using file = await open(path, 'wx', 0o600);
    await file.writeFile(text);
    await file.sync();
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  }
}
