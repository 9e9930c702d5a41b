import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Dockerd } from '../../tools/docker/index.ts';
import { checkout, programEnvironment } from '../../tools/process/programs.ts';
import { startTestDockerd } from '../kit/dockerd.ts';
import { testImages } from '../kit/images.ts';
import { startTestSite, type TestSite } from '../kit/processes.ts';

const run = promisify(execFile);
/** With something that their commands print. */
const documents = [
  ['README.md', 'hello'],
  ['docs/secrets.md', 'hello'],
  ['docs/registries.md', 'hello'],
  ['docs/site-configuration.md', '+  "logs.maxBytesPerJob": "512MiB"'],
] as const;

let dockerd: Dockerd;
let site: TestSite;

beforeAll(async () => {
  dockerd = await startTestDockerd();
  // The documents name images of the public registry, which a test does not ask.
  await run('docker', ['--host', `unix://${dockerd.socketPath}`, 'tag', testImages.busybox, 'busybox']);
  site = await startTestSite({ dockerSocket: dockerd.socketPath });
  await site.startExecutor();
});

afterAll(async () => {
  await site?.[Symbol.asyncDispose]();
  await dockerd?.stop();
});

describe('what the documents mark as runnable runs', () => {
  it.each(documents)('%s', async (document, printed) => {
    const text = await readFile(path.join(checkout, document), 'utf8');
    const blocks = [...text.matchAll(/^```sh run\n([\s\S]*?)^```$/gm)].map(([, block = '']) => block);
    expect(blocks.length).toBeGreaterThan(0);
    for (const block of blocks) {
      const { stdout } = await run('/bin/sh', ['-e', '-c', block], {
        cwd: checkout,
        env: programEnvironment({ KILN_URL: site.instance.url, KILN_TOKEN: site.instance.adminToken }),
      });
      expect(stdout).toContain(printed);
    }
  });
});
