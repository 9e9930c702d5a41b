import { glob, readFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, test } from 'vitest';

// The arrows between rooms (docs/architecture.md). A room is a folder below an app's src with an index.ts, and in the
// instance every folder; a feature is a room of its own. What is in no room belongs to the app's root, which may import
// every room.

/** Rooms of the instance and what each may import; `features` stands for every feature. */
const instanceArrows: Readonly<Record<string, readonly string[]>> = {
  database: [],
  blobs: [],
  queue: ['database'],
  logs: ['queue', 'database', 'blobs'],
  features: ['features', 'queue', 'logs', 'database', 'blobs'],
  'executor-api': ['features', 'queue', 'logs', 'database', 'blobs'],
  graphql: ['features', 'queue', 'logs', 'database'],
  metrics: ['features', 'queue', 'database'],
};
/** Files of the instance's root that rooms may import: how routes are declared, and how they refuse. */
const sharedRootFiles = ['apps/instance/src/http.ts', 'apps/instance/src/api-error.ts'];
/** Workspaces and what each may import of the others. */
const workspaceArrows: Readonly<Record<string, readonly string[]>> = {
  'packages/protocol': [],
  'packages/redaction': [],
  'apps/instance': ['packages/protocol'],
  'apps/executor': ['packages/protocol', 'packages/redaction'],
  'apps/cli': ['packages/protocol', 'apps/instance'],
  'apps/web': ['packages/protocol'],
};

interface Import {
  from: string;
  /** A path of the repository, or the name of a workspace such as `@kiln/protocol`. */
  to: string;
}

describe('imports between rooms', () => {
  test('go along the arrows, through index.ts, without a circle', async () => {
    const sources = await readSources();
    expect(sources.size).toBeGreaterThan(50);
    expect(violations(sources)).toEqual([]);
  });

  test.each([
    ['packages/protocol/src/a.ts', `import { x } from '@kiln/instance';`],
    ['packages/redaction/src/a.ts', `export * from '@kiln/protocol';`],
    ['apps/executor/src/a.ts', `import type { X } from '../../instance/src/queue/index.ts';`],
    ['apps/instance/src/a.ts', `const x = await import('@kiln/executor');`],
    ['apps/instance/src/queue/a.ts', `import { x } from '../features/jobs/index.ts';`],
    ['apps/instance/src/database/a.ts', `import { x } from '../queue/index.ts';`],
    ['apps/instance/src/logs/a.ts', `import { x } from '../features/jobs/index.ts';`],
    ['apps/instance/src/features/jobs/a.ts', `import { x } from '../accounts/accounts.ts';`],
    ['apps/instance/src/features/jobs/a.ts', `import { x } from '../../queue/claim.ts';`],
    ['apps/instance/src/features/jobs/a.ts', `import { x } from '../../executor-api/index.ts';`],
    ['apps/instance/src/features/jobs/a.ts', `import {\n  x,\n} from '../../compose.ts';`],
    ['apps/executor/src/worker/a.ts', `import { x } from '../client/client.ts';`],
    ['apps/instance/src/attic/a.ts', `import { x } from '../queue/index.ts';`],
  ])('a wrong one is found: %s: %s', (file, text) => {
    const client = 'apps/executor/src/client/index.ts';
    expect(
      violations(
        new Map([
          [file, text],
          [client, ''],
        ]),
      ),
    ).toHaveLength(1);
  });

  test('a circle is found', () => {
    const sources = new Map([
      ['apps/instance/src/features/a/x.ts', `import { b } from '../b/index.ts';`],
      ['apps/instance/src/features/b/x.ts', `import { c } from '../c/index.ts';`],
      ['apps/instance/src/features/c/x.ts', `import { a } from '../a/index.ts';`],
    ]);
    expect(violations(sources)).toEqual([
      'circle: apps/instance features/a -> features/b -> features/c -> features/a',
    ]);
  });
});

async function readSources(): Promise<Map<string, string>> {
  const root = path.resolve(import.meta.dirname, '..');
  const sources = new Map<string, string>();
  for await (const file of glob('{apps,packages}/*/src/**/*.{ts,tsx}', { cwd: root })) {
    const text = await readFile(path.join(root, file), 'utf8');
    // Tests, and what only tests use, may look into the rooms that they put together.
    const isTest = /\.test\.tsx?$/.test(file) || /from '(?:vitest|[./]+\/test\/kit\/[^']*)'/.test(text);
    if (!isTest) sources.set(file, text);
  }
  return sources;
}

function importsOf(sources: ReadonlyMap<string, string>): Import[] {
  const specifier = /(?:\bfrom\s*|\bimport\s*\(\s*|\bimport\s+)'([^']+)'/g;
  return [...sources].flatMap(([from, text]) =>
    [...text.matchAll(specifier)].flatMap(([, to = '']): Import[] => {
      if (to.startsWith('@kiln/')) return [{ from, to }];
      return to.startsWith('.') ? [{ from, to: path.posix.join(path.posix.dirname(from), to) }] : [];
    }),
  );
}

function violations(sources: ReadonlyMap<string, string>): string[] {
  const imports = importsOf(sources);
  const roomOf = roomFinder(sources.keys());
  const wrong = imports.flatMap((one) => {
    const why = mistakeOf(one, roomOf);
    return why === undefined ? [] : [`${one.from} -> ${one.to}: ${why}`];
  });
  return [...wrong, ...circles(imports, roomOf)];
}

function mistakeOf({ from, to }: Import, roomOf: RoomOf): string | undefined {
  const workspace = workspaceOf(from);
  const target = to.startsWith('@kiln/') ? workspaceNamed(to) : workspaceOf(to);
  if (target !== workspace) {
    if (!to.startsWith('@kiln/')) return 'another workspace is imported by its name';
    return workspaceArrows[workspace]?.includes(target)
      ? undefined
      : `${workspace} must not import ${target}`;
  }
  const room = roomOf(from);
  const targetRoom = roomOf(to);
  if (targetRoom === room) return undefined;
  if (targetRoom !== '' && !to.endsWith(`src/${targetRoom}/index.ts`)) {
    return 'only the index.ts of a room is imported from outside';
  }
  if (workspace !== 'apps/instance' || room === '') return undefined;
  if (targetRoom === '') {
    return sharedRootFiles.includes(to) ? undefined : 'a room must not import the composition root';
  }
  const allowed = instanceArrows[kindOf(room)];
  if (!allowed) return `${room} is no known room`;
  return allowed.includes(kindOf(targetRoom)) ? undefined : `${room} must not import ${targetRoom}`;
}

/** Circles of rooms, each once, by depth-first search. */
function circles(imports: readonly Import[], roomOf: RoomOf): string[] {
  const graph = new Map<string, Set<string>>();
  for (const { from, to } of imports) {
    if (to.startsWith('@kiln/') || workspaceOf(from) !== workspaceOf(to)) continue;
    const [source, target] = [roomOf(from), roomOf(to)];
    if (source === target || source === '' || target === '') continue;
    const key = `${workspaceOf(from)} ${source}`;
    graph.set(key, (graph.get(key) ?? new Set()).add(`${workspaceOf(to)} ${target}`));
  }
  const found: string[] = [];
  const finished = new Set<string>();
  function visit(node: string, trail: readonly string[]): void {
    const start = trail.indexOf(node);
    if (start >= 0) {
      const rooms = [...trail.slice(start), node].map((name) => name.split(' ')[1]);
      found.push(`circle: ${node.split(' ')[0]} ${rooms.join(' -> ')}`);
    } else if (!finished.has(node)) {
      for (const next of graph.get(node) ?? []) visit(next, [...trail, node]);
      finished.add(node);
    }
  }
  for (const node of graph.keys()) visit(node, []);
  return found;
}

function workspaceOf(file: string): string {
  return file.split('/').slice(0, 2).join('/');
}

function workspaceNamed(name: string): string {
  const short = name.slice('@kiln/'.length);
  return Object.keys(workspaceArrows).find((workspace) => workspace.endsWith(`/${short}`)) ?? name;
}

/** `queue`, `features/jobs`; empty: in no room. */
type RoomOf = (file: string) => string;

function roomFinder(files: Iterable<string>): RoomOf {
  const known = new Set([...files].filter((file) => file.endsWith('/index.ts')).map(path.posix.dirname));
  return (file) => {
    const [top, app, , ...rest] = file.split('/');
    const folders = rest.slice(0, -1);
    const room = folders[0] === 'features' ? folders.slice(0, 2).join('/') : (folders[0] ?? '');
    return app === 'instance' || known.has(`${top}/${app}/src/${room}`) ? room : '';
  };
}

function kindOf(room: string): string {
  return room.split('/')[0] ?? room;
}
