import { type Check, error, ok, warning } from './check.ts';
import { type Flow, machineAddresses, makeUpNetwork } from './made-up-network.ts';

const tries = 4;
/** Of documentation ranges: nobody's, and public as far as rules go. */
const open = ['203.0.113.1', '2001:db8::1'];
const closed = {
  'private ranges': ['10.9.0.1', '172.16.9.1', '192.168.77.1', '100.64.0.1', '169.254.7.7', 'fd12::1'],
  'metadata services': ['169.254.169.254', 'fd00:ec2::254'],
  'this machine': machineAddresses,
} as const;

/**
 * Whether this machine's kernel keeps to the rules of jobs' networks, by real attempts over TCP and UDP in namespaces made for it.
 * The machine's own network is neither used nor changed.
 */
export async function checkEgress(platform = process.platform, uid = process.getuid?.()): Promise<Check[]> {
  if (platform !== 'linux') return [];
  if (uid !== 0)
    return [
      warning(
        'egress',
        "the rules of jobs' networks were not tried out: that needs root",
        'Run validate as root.',
      ),
    ];
  const flows = [...open, ...Object.values(closed).flat()].flatMap((address): Flow[] => [
    { protocol: 'tcp', address },
    { protocol: 'udp', address },
  ]);
  try {
    await using network = await makeUpNetwork([
      ...open,
      ...closed['private ranges'],
      ...closed['metadata services'],
    ]);
    let verdict = judgeEgress(flows, await network.attempt(flows));
    // A link that was just set up carries nothing for up to a second.
    for (let again = 1; again < tries && verdict.state === 'error'; again++)
      verdict = judgeEgress(flows, await network.attempt(flows));
    return [verdict];
  } catch (cause) {
    return [
      warning(
        'egress',
        `the rules of jobs' networks could not be tried out: ${cause instanceof Error ? cause.message : String(cause)}`,
        'Install nftables and iproute2, and let this machine make network namespaces.',
      ),
    ];
  }
}

/** @param passed which of the flows came through */
export function judgeEgress(flows: readonly Flow[], passed: readonly boolean[]): Check {
  const shouldPass = ({ address }: Flow): boolean => open.includes(address);
  const wrong = flows.filter((flow, index) => passed[index] !== shouldPass(flow));
  if (wrong.length === 0)
    return ok(
      'egress',
      `${flows.length} attempts from a made-up job: public addresses are reached; ${Object.keys(closed).join(', ')} are not`,
    );
  const leaks = wrong.filter((flow) => !shouldPass(flow)).map(show);
  if (leaks.length > 0)
    return error(
      'egress',
      `jobs would reach what they must not: ${leaks.join(', ')}`,
      'Use a kernel with complete nftables, such as that of Debian.',
    );
  return error(
    'egress',
    `jobs would not reach public addresses: ${wrong.map(show).join(', ')}`,
    'Use a kernel with complete nftables, such as that of Debian.',
  );
}

function show({ protocol, address }: Flow): string {
  return `${protocol} ${address}`;
}
