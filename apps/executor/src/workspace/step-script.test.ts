import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DockerStep, JobDocument } from '@kiln/protocol';
import { emptyDocument } from '@kiln/protocol/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { renderScript, scriptPath } from './step-script.ts';

const document: JobDocument = {
  ...emptyDocument,
  id: 42,
  token: '',
  repositoryName: 'github.com/acme/widgets',
  commit: 'deadbeef',
  shallowClone: true,
};

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kiln-script-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function run(
  commands: string[],
  attempt?: number,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const path = join(directory, 'script.sh');
  const step: DockerStep = { key: '', image: '', commands, dir: '', env: [] };
  await writeFile(path, renderScript({ ...document, ...(attempt === undefined ? {} : { attempt }) }, step));
  return new Promise((resolve) => {
    execFile('/bin/sh', [path], { env: { PATH: '/usr/bin:/bin' } }, (error, stdout, stderr) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr }),
    );
  });
}

test('scripts are named as the reference names them', () => {
  expect(scriptPath(document, 3)).toBe('.sourcegraph-executor/42.3_github.com_acme_widgets@deadbeef.sh');
});

test('a name is never longer than a file system takes, and stays unique', () => {
  const long = (last: string) => scriptPath({ ...document, repositoryName: `${'é'.repeat(300)}${last}` }, 0);
  expect(Buffer.byteLength(long('a'))).toBeLessThanOrEqual('.sourcegraph-executor/'.length + 255);
  expect(long('a')).not.toBe(long('b'));
});

describe('a script', () => {
  test('runs under bash where there is one, with no argument left', async () => {
    const { stdout } = await run(['echo "$(test -n "$BASH_VERSION" && echo bash) $#"'], 1);
    expect(stdout).toBe('bash 0\n');
  });

  test('ends with the code of its last command', async () => {
    expect((await run(['false', 'true'])).code).toBe(0);
    expect((await run(['true', '(exit 7)'])).code).toBe(7);
    expect((await run(['set -e', 'false', 'true'], 1)).code).toBe(1);
  });

  test('is traced for a genuine instance, and for Kiln only when its lines say so', async () => {
    expect((await run(['echo hi'])).stderr).toBe('+ echo hi\n');
    expect((await run(['set -e', 'echo hi'], 1)).stderr).toBe('');
    expect((await run(['set -e', 'set -x', 'echo hi'], 1)).stderr).toBe('+ echo hi\n');
  });
});
