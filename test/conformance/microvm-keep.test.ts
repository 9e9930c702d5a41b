import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type MicrovmUnderTest, microvmUnderTest } from './microvm.ts';
import { startJob, testDirectory } from './runtime-under-test.ts';

let under: MicrovmUnderTest;
beforeAll(async () => {
  under = await microvmUnderTest();
}, 600_000);
afterAll(async () => {
  await under?.[Symbol.asyncDispose]();
});

test('a VM that is to be looked into stays until it is removed', async () => {
  await using directory = await testDirectory();
  const warnings: string[] = [];
  await using runtime = under.open({ dataDirectory: directory.path, warnings });
  // Guest and images are there when the first sandbox is.
  await (await startJob(runtime, under, directory.path))[Symbol.asyncDispose]();
  const workspaceDirectory = join(directory.path, 'kept');
  await mkdir(workspaceDirectory);
  await writeFile(join(workspaceDirectory, 'file'), 'in the workspace\n');

  const name = await runtime.keep(
    {
      id: 5,
      attempt: 1,
      workspaceDirectory,
      images: [],
      network: 'none',
      limits: { numCPUs: 1, memoryBytes: 256 * 1024 ** 2, diskBytes: 256 * 1024 ** 2 },
      registryAuth: {},
      notice: () => undefined,
    },
    AbortSignal.timeout(150_000),
  );
  expect(name).toMatch(/^kiln-5-1-/);
  expect(await runtime.kept()).toEqual([name]);

  // As another process would, with nothing but the data directory.
  await using other = under.open({ dataDirectory: directory.path, warnings });
  await other.sweep(AbortSignal.timeout(60_000));
  const attach = async (argv: string[]) => {
    const output: Buffer[] = [];
    const code = await other.attach(name, {
      argv,
      terminal: undefined,
      write: (_, bytes) => void output.push(Buffer.from(bytes)),
      signal: AbortSignal.timeout(60_000),
    });
    return { code, output: Buffer.concat(output).toString('utf8') };
  };
  expect(await attach(['cat', 'file'])).toEqual({ code: 0, output: 'in the workspace\n' });
  expect(await attach(['sh', '-c', 'exit 7'])).toEqual({ code: 7, output: '' });
  expect(
    await other.attach('kiln-5-1-none', {
      argv: [],
      terminal: undefined,
      write: () => undefined,
      signal: AbortSignal.timeout(1),
    }),
  ).toBeUndefined();

  expect(await other.removeKept(name)).toBe(true);
  expect(await other.removeKept(name)).toBe(false);
  expect(await under.leftovers()).toEqual([]);
  expect(warnings).toEqual([]);
});
