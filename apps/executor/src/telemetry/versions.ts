import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Versions } from '../client/index.ts';

const execute = promisify(execFile);
const budgetSeconds = 5;

/** Names of systems and architectures as the protocol spells them. */
const architectures: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386' };
const systems: Readonly<Record<string, string>> = { win32: 'windows' };

/** What a heartbeat says about this machine's software. What cannot be found out within 5 s stays empty. */
export async function collectVersions(hostEnvironment: Readonly<Record<string, string>>): Promise<Versions> {
  const ask = async (program: string, args: string[], pattern: RegExp): Promise<string> => {
    try {
      const { stdout } = await execute(program, args, {
        env: hostEnvironment,
        timeout: budgetSeconds * 1000,
      });
      return pattern.exec(stdout)?.[1] ?? '';
    } catch {
      // Not installed, or no daemon: an empty version says so.
      return '';
    }
  };
  const [dockerVersion, gitVersion, srcCliVersion] = await Promise.all([
    ask('docker', ['version', '-f', '{{.Server.Version}}'], /^\s*(\S+)/),
    ask('git', ['version'], /^git version (\S+)/),
    ask('src', ['version', '-client-only'], /version:?\s+v?(\S+)/i),
  ]);
  return {
    os: systems[process.platform] ?? process.platform,
    architecture: architectures[process.arch] ?? process.arch,
    dockerVersion,
    gitVersion,
    srcCliVersion,
  };
}
