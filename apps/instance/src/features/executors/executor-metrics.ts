import { setImmediate } from 'node:timers/promises';

/**
 * The metrics that executors send with their heartbeats, for the instance's own scrape endpoint (reference section
 * 1.6). Kept in memory: each instance exposes those of the heartbeats it answered.
 */
export interface ExecutorMetrics {
  /** Replaces what the executor sent before. */
  record(executorName: string, text: string): void;
  /** All of the last 30 s as one text exposition, with `sg_instance` and `sg_job` added to each sample. */
  expose(): Promise<string>;
}

const keptMs = 30_000;
const maxTotalCharacters = 64 * 1024 * 1024;
const registryInstance = 'docker-registry';

/** @param now for tests: milliseconds on any clock that does not jump */
export function createExecutorMetrics(now: () => number = () => performance.now()): ExecutorMetrics {
  const kept = new Map<string, { text: string; at: number }>();
  let totalCharacters = 0;

  function drop(name: string): void {
    totalCharacters -= kept.get(name)?.text.length ?? 0;
    kept.delete(name);
  }

  return {
    record(executorName, text) {
      drop(executorName);
      const oldest = now() - keptMs;
      // In the order of arrival, so the old ones come first.
      for (const [name, { at }] of kept) {
        if (at >= oldest && totalCharacters + text.length <= maxTotalCharacters) break;
        drop(name);
      }
      if (text === '' || text.length > maxTotalCharacters) return;
      kept.set(executorName, { text, at: now() });
      totalCharacters += text.length;
    },
    async expose() {
      const oldest = now() - keptMs;
      const families = new Map<string, Family>();
      for (const [name, { text, at }] of [...kept]) {
        if (at < oldest) continue;
        readFamilies(text, name, families);
        // A large fleet takes a while; heartbeats go on meanwhile.
        await setImmediate();
      }
      return [...families.values()].map(writeFamily).join('');
    },
  };
}

interface Family {
  name: string;
  help: string | undefined;
  type: string | undefined;
  samples: string[];
}

/** Adds one executor's families to those of the others; lines that are no metrics are left out. */
function readFamilies(text: string, executorName: string, families: Map<string, Family>): void {
  const types = new Map<string, string>();
  const helps = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [, ...head] =
      /^# (?:(HELP) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.*)|(TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram|summary|untyped))$/.exec(
        line,
      ) ?? [];
    const [kind, name, rest] = head.filter((part) => part !== undefined);
    if (name !== undefined && rest !== undefined) {
      (kind === 'TYPE' ? types : helps).set(name, rest);
      continue;
    }
    const sample = readSample(line);
    if (!sample) continue;
    const base = familyOf(sample.name, types);
    if (isOfInstance(base)) continue;
    const type = types.get(base);
    let family = families.get(base);
    if (!family) {
      family = { name: base, help: helps.get(base), type, samples: [] };
      families.set(base, family);
    }
    // Two types under one name would make the whole exposition unreadable.
    if (family.type === type) family.samples.push(writeSample(sample, executorName));
  }
}

interface Sample {
  name: string;
  /** As written, without the braces. */
  labels: string;
  value: string;
}

const label = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\.)*)"/;
const sampleLine = new RegExp(
  `^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\\{((?:${label.source},?)*)\\})?[ \\t]+((?:[-+]?(?:[0-9]+\\.?[0-9]*|\\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?Inf|NaN)(?:[ \\t]+-?[0-9]+)?)[ \\t]*$`,
);

function readSample(line: string): Sample | undefined {
  const match = sampleLine.exec(line);
  const name = match?.[1];
  const value = match?.at(-1);
  if (name === undefined || value === undefined) return undefined;
  return { name, labels: (match?.[2] ?? '').replace(/,$/, ''), value };
}

/** Families of the instance itself stand in the same exposition, and no executor may speak for it. */
function isOfInstance(family: string): boolean {
  return family.startsWith('kiln_') && !family.startsWith('kiln_executor_');
}

/** A histogram's or summary's samples carry its name with a suffix. */
function familyOf(sampleName: string, types: ReadonlyMap<string, string>): string {
  const base = sampleName.replace(/_(?:bucket|sum|count)$/, '');
  const type = types.get(base);
  return type === 'histogram' || type === 'summary' ? base : sampleName;
}

function writeSample({ name, labels, value }: Sample, executorName: string): string {
  const instance = /(?:^|,)sg_instance="([^"]*)"/.exec(labels)?.[1];
  const job = instance === registryInstance ? 'sourcegraph-executors-registry' : 'sourcegraph-executors';
  const all = [
    ...(labels === '' ? [] : [labels]),
    ...(instance === undefined ? [`sg_instance="${escapeLabel(executorName)}"`] : []),
    ...(/(?:^|,)sg_job="/.test(labels) ? [] : [`sg_job="${job}"`]),
  ];
  return `${name}{${all.join(',')}} ${value}\n`;
}

function writeFamily({ name, help, type, samples }: Family): string {
  const head = `${help === undefined ? '' : `# HELP ${name} ${help}\n`}${type === undefined ? '' : `# TYPE ${name} ${type}\n`}`;
  return head + samples.join('');
}

function escapeLabel(value: string): string {
  return value.replace(/[\\"\n]/g, (character) => (character === '\n' ? '\\n' : `\\${character}`));
}
