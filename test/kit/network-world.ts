import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Addresses of the made-up internet. `open` stands for any public server (a documentation range, nobody's). */
export const worldAddresses = {
  open: '203.0.113.1',
  private10: '10.9.0.1',
  private172: '172.16.9.1',
  private192: '192.168.77.1',
  carrierNAT: '100.64.0.1',
  metadata: '169.254.169.254',
  linkLocal: '169.254.7.7',
  open6: '2001:db8::1',
  private6: 'fd12::1',
  metadata6: 'fd00:ec2::254',
} as const;

/** Port of every address: TCP answers `hello over tcp`, UDP as a TFTP server with an error (all that busybox can ask over UDP). */
export const worldPort = 7000;

export interface NetworkWorld extends AsyncDisposable {
  pid: number;
}

/**
 * Puts an "internet" beside a network namespace: a namespace of its own with servers on {@link worldAddresses}, reached by the
 * default route. Nothing of it leaves this machine.
 * @param namespace `/proc/<pid>/ns/net` of the namespace that gets the route
 */
export async function startNetworkWorld(namespace: string): Promise<NetworkWorld> {
  const server = spawn('unshare', ['--net', '--', process.execPath, '-e', serverProgram], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(server.stdout, 'data');
  const { pid } = server;
  if (pid === undefined) throw new Error('the world did not start');
  const inWorld = `/proc/${pid}/ns/net`;
  try {
    await ip(namespace, `link add world type veth peer name out netns ${pid}`);
    await ip(namespace, 'addr add 203.0.113.254/24 dev world');
    await ip(namespace, 'addr add 2001:db8::254/64 dev world nodad');
    await ip(namespace, 'link set world up');
    await ip(inWorld, 'link set lo up');
    for (const address of Object.values(worldAddresses))
      await ip(
        inWorld,
        address.includes(':') ? `addr add ${address}/64 dev out nodad` : `addr add ${address}/24 dev out`,
      );
    await ip(inWorld, 'link set out up');
    await ip(namespace, 'route add default via 203.0.113.1');
    await ip(namespace, '-6 route add default via 2001:db8::1');
    await ip(inWorld, 'route add default via 203.0.113.254');
    await ip(inWorld, '-6 route add default via 2001:db8::254');
  } catch (error) {
    await end(server);
    throw error;
  }
  return { pid, [Symbol.asyncDispose]: () => end(server) };
}

/** Runs `ip` in a network namespace. */
export async function ip(namespace: string, parameters: string): Promise<void> {
  await run('nsenter', [`--net=${namespace}`, '--', 'ip', ...parameters.split(' ')], { timeout: 10_000 });
}

/** Ends with its parent, whose pipe it reads. */
const serverProgram = `
  const net = require('node:net');
  const dgram = require('node:dgram');
  process.stdin.resume().on('end', () => process.exit());
  const refusal = Buffer.from([0, 5, 0, 1, 110, 111, 0]);
  const tcp = net.createServer((socket) => socket.on('error', () => {}).end('hello over tcp\\n'));
  const udp4 = dgram.createSocket('udp4').on('message', (m, from) => udp4.send(refusal, from.port, from.address));
  const udp6 = dgram.createSocket({ type: 'udp6', ipv6Only: true }).on('message', (m, from) => udp6.send(refusal, from.port, from.address));
  tcp.listen(${worldPort}, '::', () => udp4.bind(${worldPort}, '0.0.0.0', () => udp6.bind(${worldPort}, '::', () => console.log('ready'))));
`;

async function end(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const exited = once(server, 'exit');
  server.kill('SIGKILL');
  await exited;
}
