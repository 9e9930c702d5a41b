import { lstat, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testImages } from '../kit/images.ts';
import { type HostileSite, startHostileSite } from './site.ts';

const { busybox: image } = testImages;
let hostile: HostileSite;
/** Outside every workspace: what a step must not reach. */
let outside: string;

beforeAll(async () => {
  hostile = await startHostileSite({
    env: { EXECUTOR_FIRECRACKER_DISK_SPACE: '64M', EXECUTOR_MAXIMUM_NUM_JOBS: '5' },
  });
  outside = join(hostile.site.directory, 'outside');
  await mkdir(outside);
  await writeFile(join(outside, 'precious'), 'precious\n');
});
afterAll(() => hostile?.[Symbol.asyncDispose]());

const failedAtOnce = { state: 'failed', attempt: 1 };
function failedWith(message: RegExp): object {
  return { ...failedAtOnce, failureMessage: expect.stringMatching(message) };
}

describe('what a step leaves in the workspace', () => {
  it.concurrent('links, pipes, sockets and closed directories are removed, never what they lead to', async () => {
    const run = [
      `ln -s ${outside} link; ln -s / root; ln -s /etc/passwd passwd; ln -s ${outside}/precious file`,
      'mkfifo pipe; mknod pipe2 p; (timeout 1 nc -lU socket || true) &',
      'mkdir -p closed/inner; touch closed/inner/x; ln -s / closed/inner/root; chmod 0 closed/inner closed',
      // Deeper than the longest path.
      'chain() { mkdir "$1"; cd "$1"; i=0; while [ $i -lt 180 ]; do mkdir dddddddddddddddd; cd dddddddddddddddd; i=$((i + 1)); done; }',
      '(chain /data/lower); (chain /data/upper; mv /data/lower .)',
    ].join('\n');
    const before = await lstat('/etc/passwd');
    await hostile.run({ steps: [{ image, run }] }, { state: 'completed' });
    expect((await lstat('/etc/passwd')).ino).toBe(before.ino);
  });

  it.concurrent('device files cannot be made', async () => {
    const job = await hostile.run({ steps: [{ image, run: 'mknod disk b 254 0' }] }, failedAtOnce);
    expect((await hostile.log(job.id)).toString()).toContain('Operation not permitted');
  });

  it.concurrent('a workspace that is deleted fails the steps after it, with a cause', async () => {
    const steps = [
      { image, run: 'cd /; rm -rf /data/* /data/.[!.]* || true; rm -rf /data || true; ls -A /data' },
      { image, run: 'echo never' },
    ];
    await hostile.run({ steps }, failedWith(/the script of this step, .*, is gone or is no plain file/));
  });

  it.concurrent('scripts of later steps are the job’s own: changing them stays in the sandbox', async () => {
    const steps = [
      {
        image,
        run: 'for f in .sourcegraph-executor/*.1_*; do echo "echo changed; id -u; ls /work 2>&1" >"$f"; done',
      },
      { image, run: 'echo original' },
    ];
    // `ls` finds nothing, unless the sandbox has such a directory.
    const job = await hostile.run({ steps }, { state: expect.stringMatching(/completed|failed/) });
    const log = (await hostile.log(job.id)).toString();
    expect(log).toContain('stdout: changed\n');
    expect(log).not.toContain('stdout: original\n');
  });

  it.concurrent('a script of a later step that became a link, a pipe or a directory runs nothing outside', async () => {
    for (const replacement of [`ln -s ${outside}/precious`, 'mkfifo', 'mkdir']) {
      const steps = [
        { image, run: `f=$(ls -d .sourcegraph-executor/*.1_*); rm "$f"; ${replacement} "$f"` },
        { image, run: 'echo original' },
      ];
      const job = await hostile.run(
        { timeout: '90s', steps },
        failedWith(/the script of this step, .*, is gone or is no plain file/),
      );
      expect((await hostile.log(job.id)).toString()).not.toContain('precious');
    }
  });
});

describe('skip.json', () => {
  const after = [{ image, run: 'echo after', key: 'after' }];

  it.concurrent.each([
    ['a link out of the workspace', 'ln -s /etc/passwd skip.json'],
    ['a link to a file of the workspace', 'echo "{\\"nextStep\\":\\"x\\"}" >s; ln -s s skip.json'],
    ['huge', 'dd if=/dev/zero of=skip.json bs=1M count=20'],
    ['a pipe', 'mkfifo skip.json'],
    ['a directory', 'mkdir skip.json'],
    ['no JSON', 'printf "\\377\\376" >skip.json'],
    ['of another form', 'echo "[]" >skip.json'],
  ])('that is %s fails its step with that reason', async (_, run) => {
    const job = await hostile.run(
      { steps: [{ image, run, key: 'a.pre' }, ...after] },
      failedWith(/step\.docker\.a\.pre.*skip\.json/),
    );
    expect((await hostile.log(job.id)).toString()).not.toContain('root:x:0');
  });

  it.concurrent('that names no step skips what follows', async () => {
    const run = `echo '{"nextStep":"step.9.pre"}' >skip.json`;
    await hostile.run({ steps: [{ image, run, key: 'a.pre' }, ...after] }, { state: 'completed' });
  });
});

describe('more than there is', () => {
  it.concurrent('one variable that is too long is named', async () => {
    await hostile.run(
      { steps: [{ image, run: 'true', env: { BIG: 'x'.repeat(200_000) } }] },
      failedWith(/environment variable BIG holds more than the 128 KiB/),
    );
  });

  it.concurrent('variables that are too long together are told as such', async () => {
    const env = Object.fromEntries(
      Array.from({ length: 90 }, (_, index) => [`V${index}`, 'x'.repeat(100_000)]),
    );
    await hostile.run(
      { steps: [{ image, run: 'true', env }] },
      failedWith(/the environment variables of this step are too long together/),
    );
  });

  it.concurrent('a writer of 10 GB is stopped with the reason', async () => {
    const steps = [{ image, run: 'dd if=/dev/zero of=big bs=1M count=10000' }];
    await hostile.run({ steps }, failedWith(/killed: .*disk/));
  });

  it.concurrent('a hundred thousand files are removed', async () => {
    const run = 'i=0; while [ $i -lt 100 ]; do mkdir d$i; (cd d$i; touch $(seq 1000)); i=$((i + 1)); done';
    await hostile.run({ steps: [{ image, run }] }, { state: 'completed' });
  });
});

it('all of that has left nothing, and reached nothing', async () => {
  expect(await readFile(join(outside, 'precious'), 'utf8')).toBe('precious\n');
  await hostile.run({ steps: [{ image, run: 'true' }] }, { state: 'completed', attempt: 1 });
  await expect.poll(() => hostile.leftovers(), { timeout: 120_000 }).toEqual([]);
});
