import { Resolver } from 'node:dns/promises';
import { machineResolvers } from '../../runtimes/network/index.ts';
import { type Check, ok, warning } from './check.ts';

const patienceMilliseconds = 3000;
/** Of a name that is never given to anybody: every answer, a refusal too, shows that somebody is there. */
const nobody = 'kiln-validate.invalid';
const silence: ReadonlySet<unknown> = new Set(['ETIMEOUT', 'ECONNREFUSED', 'ECANCELLED']);

/** Whether the name servers that steps are given answer. */
export async function checkResolvers(servers?: readonly string[]): Promise<Check> {
  const asked = servers ?? (await machineResolvers());
  if (asked.length === 0)
    return warning(
      'resolver',
      'this machine has no name server that steps could ask, so they cannot look up names',
      'Name one in /etc/resolv.conf.',
    );
  const answered = await Promise.all(asked.map(answers));
  const silent = asked.filter((_, index) => answered[index] === false);
  if (silent.length === 0) return ok('resolver', `${asked.join(', ')} ${verb(asked)}`);
  return warning(
    'resolver',
    `no answer from ${silent.join(', ')}, which steps ask for names`,
    'Correct /etc/resolv.conf, or let this machine reach port 53 there.',
  );
}

function verb(servers: readonly string[]): string {
  return servers.length === 1 ? 'answers' : 'answer';
}

async function answers(server: string): Promise<boolean> {
  const resolver = new Resolver({ timeout: patienceMilliseconds, tries: 1 });
  resolver.setServers([server]);
  try {
    await resolver.resolve4(nobody);
    return true;
  } catch (cause) {
    return !silence.has(Reflect.get(Object(cause), 'code'));
  }
}
