import { parseArgs } from 'node:util';
import { readSomeSettings, thisHost } from '../env/index.ts';
import { installGuest } from '../runtimes/microvm/guest/index.ts';
import { installSrcCli } from './install-src-cli.ts';
import type { CommandSurroundings } from './surroundings.ts';

const usage = `Usage: executor install WHAT

Puts on this machine what microVMs need beside the programs of the distribution (QEMU, e2fsprogs, squashfs-tools).
Needs apt of a Debian machine, and a minute. What is there already is built anew from the newest packages; running
VMs keep what they run from. Jobs in Docker containers need none of it.

  all                 kernel and image
  kernel              the kernel of the VMs with its initramfs, from the package linux-image-cloud-amd64
  image               their read-only root: perl-base, crun, tini, iproute2, busybox, and Kiln's own agent
  src-cli             the program "src" in the version that fits the instance (EXECUTOR_FRONTEND_URL), for steps that
                      run it on this machine (EXECUTOR_ALLOW_HOST_SRC); nothing happens where the instance has none
    --bin-dir DIR     where to put it; the default is /usr/local/bin
  ignite, cni, iptables-rules
                      not needed: Kiln starts VMs, and makes and filters their networks, by itself. Accepted so that
                      set-ups which name them go on

The guest is kept below EXECUTOR_DATA_DIR/guest, under a digest of all that is in it: the same packages give the same guest.
EXECUTOR_FIRECRACKER_IMAGE and EXECUTOR_FIRECRACKER_KERNEL_IMAGE take the path of a root image or a kernel of your own.
`;

/**
 * `executor install ...`; needs no instance.
 * @returns its exit code
 */
export async function runInstall(
  surroundings: CommandSurroundings,
  args: readonly string[],
): Promise<number> {
  const { out, onSignal } = surroundings;
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      'bin-dir': { type: 'string', default: '/usr/local/bin' },
      'recreate-chain': { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const [what, ...rest] = positionals;
  if (values.help || what === 'help') {
    out(usage);
    return 0;
  }
  const stop = new AbortController();
  onSignal((name) => stop.abort(new Error(`stopped by ${name}; what was installed before is still in use`)));
  // "install image" took the name of one of three images.
  const named = what === 'image' ? imageParts.get(rest.shift()?.toLowerCase() ?? 'executor-vm') : undefined;
  if (rest.length > 0 || (what === 'image' && named === undefined))
    throw new Error('too many or unknown arguments; "executor install --help" explains what there is');
  switch (named ?? what) {
    case 'all':
    case 'kernel':
    case 'image':
      await install(surroundings, (named ?? what) as 'all' | 'kernel' | 'image', stop.signal);
      return 0;
    case 'src-cli':
      await installSrcCli(surroundings, values['bin-dir'], stop.signal);
      return 0;
    case 'ignite':
    case 'cni':
    case 'iptables-rules':
    case 'sandbox':
      out(
        `${what === 'image' ? 'image sandbox' : what}: not needed; ${notNeeded[named ?? what ?? ''] ?? ''}\n`,
      );
      return 0;
    default:
      throw new Error(
        `${what === undefined ? 'say what to install' : `there is nothing called ${JSON.stringify(what)}`}: kernel, image, src-cli or all; "executor install --help" explains each`,
      );
  }
}

const imageParts: ReadonlyMap<string, 'image' | 'kernel' | 'sandbox'> = new Map([
  ['executor-vm', 'image'],
  ['kernel', 'kernel'],
  ['sandbox', 'sandbox'],
]);

const notNeeded: Readonly<Record<string, string>> = {
  ignite: 'Kiln starts VMs by itself',
  cni: 'Kiln makes the network of each VM by itself',
  'iptables-rules':
    'Kiln filters the network of each VM by rules of its own (nftables), which come and go with the VM',
  sandbox: 'there is no container around the VMM',
};

async function install(
  { env, out }: CommandSurroundings,
  what: 'all' | 'kernel' | 'image',
  signal: AbortSignal,
): Promise<void> {
  const { dataDirectory } = readSomeSettings(['dataDirectory'], env, thisHost(env));
  const guest = await installGuest({ dataDirectory, what, progress: (line) => out(`${line}\n`), signal });
  out(`installed: guest ${guest.digest} below ${dataDirectory}\n`);
}
