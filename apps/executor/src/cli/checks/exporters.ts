import { request } from 'undici';
import type { Settings } from '../../env/index.ts';
import type { Check } from './check.ts';

const answerMilliseconds = 3000;

/** Whether the metrics exporters in the settings answer. Without them the executor works, so this only warns. */
export async function checkExporters(settings: Settings): Promise<Check[]> {
  const named = [
    ['NODE_EXPORTER_URL', settings.nodeExporterUrl, '/metrics'],
    ['DOCKER_REGISTRY_NODE_EXPORTER_URL', settings.dockerRegistryNodeExporterUrl, '/proxy?module=registry'],
  ] as const;
  const checks = named.map(async ([name, url, path]): Promise<Check[]> => {
    if (url === undefined) return [];
    const address = `${url.href.replace(/\/+$/, '')}${path}`;
    const problem = await ask(address);
    return problem === undefined
      ? [{ name, state: 'ok', message: `${address} answers`, fix: '' }]
      : [
          {
            name,
            state: 'warning',
            message: `${address}: ${problem}`,
            fix: `Correct address and port in ${name}, or unset it.`,
          },
        ];
  });
  return (await Promise.all(checks)).flat();
}

async function ask(address: string): Promise<string | undefined> {
  try {
    const { statusCode, body } = await request(address, { signal: AbortSignal.timeout(answerMilliseconds) });
    await body.dump();
    return statusCode === 200 ? undefined : `answers ${statusCode}`;
  } catch (error) {
    return error instanceof Error ? error.message || String(Reflect.get(error, 'code')) : String(error);
  }
}
