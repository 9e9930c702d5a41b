import os from 'node:os';

/** What a figure depends on, as `name: value` pairs. */
export function describeMachine(): Record<string, string> {
  const processors = os.cpus();
  return {
    cpu: processors[0]?.model ?? 'unknown',
    cores: String(os.availableParallelism()),
    memory: `${(os.totalmem() / 2 ** 30).toFixed(1)} GiB`,
    kernel: `${os.type()} ${os.release()}`,
    node: process.version,
    load: os
      .loadavg()
      .map((value) => value.toFixed(2))
      .join(' '),
    date: new Date().toISOString().slice(0, 10),
  };
}
