import { expect, test } from 'vitest';
import { microvmUnderTest } from '../conformance/microvm.ts';
import { startJob, testDirectory } from '../conformance/runtime-under-test.ts';
import { testImages } from '../kit/images.ts';
import { inNamespace } from '../kit/network-namespace.ts';

const [ingress, egress] = [400_000, 100_000];
/** What may pass at once on top: the bucket, and what waits for a tenth of a second. */
const bucketBytes = 128 * 1024 + egress / 10;

test('a VM sends and receives as many bytes a second as the executor allows', async () => {
  await using under = await microvmUnderTest({ images: ['busybox', 'perl'] });
  await using directory = await testDirectory();
  const warnings: string[] = [];
  await using runtime = under.open({
    dataDirectory: directory.path,
    warnings,
    bandwidth: { ingress, egress },
  });
  await using job = await startJob(runtime, under, directory.path, { network: 'public' });
  const links = await inNamespace(under.machine, ['tc', 'qdisc', 'show']);
  expect(links).toMatch(new RegExp(`tbf .* dev kb[0-9a-f]{12} .*rate ${(ingress * 8) / 1000}Kbit`));

  const begin = performance.now();
  // 3 MB of packets, as fast as the guest can: most of them are lost.
  const flood =
    'socket(S, 2, 2, 0); connect(S, pack("S n C4 x8", 2, 7001, 203, 0, 113, 1)); send(S, "x" x 1000, 0) for 1 .. 3000';
  const outcome = await job.run(`perl -e '${flood}'`, { image: testImages.perl });
  const seconds = (performance.now() - begin) / 1000;
  const sent = outcome.usage.networkTxBytes ?? 0;
  expect(sent).toBeGreaterThan(bucketBytes / 2);
  expect(sent).toBeLessThan(bucketBytes + egress * seconds);
  expect(warnings).toEqual([]);
});
