import { readdir } from 'node:fs/promises';
import { interruption } from '../tools/process/interruption.ts';
import type { Bench, BenchResult } from './bench.ts';
import { describeMachine } from './machine.ts';
import { keepsItsPromises, renderReport } from './report.ts';

/** Files of this folder that are part of the frame; every other `*.ts` is a bench named after its file. */
const frame = new Set(['bench', 'machine', 'main', 'report']);

const [name, ...args] = process.argv.slice(2);
const benches = await listBenches();
if (name !== undefined && benches.includes(name)) {
  process.exitCode = await runBench(name, args);
} else {
  if (name !== undefined) console.error(`There is no bench ${JSON.stringify(name)}.`);
  console.error(`usage: npm run bench NAME -- [ARGUMENTS], where NAME is one of:`);
  for (const bench of benches) console.error(`  ${bench.padEnd(12)} ${await aboutOf(bench)}`);
  process.exitCode = 2;
}

async function listBenches(): Promise<string[]> {
  const files = await readdir(import.meta.dirname);
  return files
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
    .map((file) => file.slice(0, -'.ts'.length))
    .filter((file) => !frame.has(file))
    .sort();
}

/** The exit code: 0, 1 when a measure is outside the bound it must keep, or 130 after an interruption. */
async function runBench(bench: string, benchArgs: string[]): Promise<number> {
  const { run } = await load(bench);
  const machine = describeMachine();
  const signal = interruption();
  let result: BenchResult;
  try {
    result = await run(benchArgs, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
    console.error('interrupted; everything that the bench started has been stopped');
    return 130;
  }
  console.log(renderReport(bench, machine, result));
  return keepsItsPromises(result) ? 0 : 1;
}

async function aboutOf(bench: string): Promise<string> {
  return (await load(bench)).about;
}

async function load(bench: string): Promise<Bench> {
  return (await import(`./${bench}.ts`)) as Bench;
}
