import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createImageTree, type DirectoryNode } from './image-tree.ts';
import { imageLimits } from './limits.ts';
import { mergedTar, planTree } from './merged-tar.ts';
import { readTar, type TarEntry, type TarType } from './tar-reader.ts';
import { tarEnd, tarHeader, tarPadding } from './tar-writer.ts';

const limits = { ...imageLimits, depth: 6 };
type Fields = Partial<TarEntry> & { type: TarType; path: string };

function entry(fields: Fields): TarEntry {
  return {
    linkPath: '',
    size: 0,
    mode: 0o644,
    uid: 0,
    gid: 0,
    mtime: 0,
    xattrs: new Map(),
    offset: 0,
    ...fields,
  };
}
const file = (path: string, id = 0): Fields => ({ type: 'file', path, mode: id });
const directory = (path: string): Fields => ({ type: 'directory', path });
const symlink = (path: string, linkPath: string): Fields => ({ type: 'symlink', path, linkPath });
const hardlink = (path: string, linkPath: string): Fields => ({ type: 'hardlink', path, linkPath });

function merged(...layers: Fields[][]): string[] {
  const tree = createImageTree(limits);
  for (const layer of layers) tree.addLayer(layer.map(entry));
  return listing(tree.root);
}

/** `path kind detail`, sorted. A file's mode tells which entry it came from. */
function listing(root: DirectoryNode, prefix = ''): string[] {
  return [...root.children]
    .flatMap(([name, node]) => {
      const path = `${prefix}${name}`;
      if (node.kind === 'directory') return [`${path} d`, ...listing(node, `${path}/`)];
      return [`${path} ${node.kind === 'symlink' ? `l ${node.target}` : `f ${node.attributes.mode}`}`];
    })
    .sort();
}

describe('layers', () => {
  test('hide what is below them by whiteouts, wherever these stand, and never what they bring', () => {
    const lower = [directory('a'), file('a/x', 1), file('a/y', 1), file('b', 1)];
    expect(merged(lower, [file('a/x', 2), file('a/.wh.x'), file('.wh.b')])).toEqual([
      'a d',
      'a/x f 2',
      'a/y f 1',
    ]);
    expect(merged(lower, [file('a/z', 2), file('a/.wh..wh..opq')])).toEqual(['a d', 'a/z f 2', 'b f 1']);
    expect(merged(lower, [file('.wh.a')])).toEqual(['b f 1']);
    expect(merged(lower, [file('.wh..wh..opq')])).toEqual([]);
    expect(merged(lower, [file('.wh..wh.plnk'), file('none/.wh.x'), file('b/.wh.x')])).toEqual(merged(lower));
  });

  test('replace files by directories and the other way round', () => {
    expect(merged([directory('a'), file('a/x')], [file('a', 2)])).toEqual(['a f 2']);
    expect(merged([file('a')], [directory('a'), file('a/x', 2)])).toEqual(['a d', 'a/x f 2']);
    expect(merged([directory('a'), file('a/x')], [directory('a')])).toEqual(['a d', 'a/x f 0']);
  });

  test('below a link of a lower layer put a directory, which nothing leads out of', () => {
    expect(merged([symlink('a', '/etc'), directory('etc')], [file('a/passwd', 2)])).toEqual([
      'a d',
      'a/passwd f 2',
      'etc d',
    ]);
    expect(merged([symlink('a', 'b'), file('b/x')], [file('a/.wh.x')])).toEqual(['a l b', 'b d', 'b/x f 0']);
  });

  test('below a link of their own follow it within the image', () => {
    expect(merged([directory('usr/lib'), symlink('lib', 'usr/lib'), file('lib/x', 1)])).toEqual([
      'lib l usr/lib',
      'usr d',
      'usr/lib d',
      'usr/lib/x f 1',
    ]);
    expect(merged([symlink('a', '../../../../b'), file('a/x', 1)])).toEqual([
      'a l ../../../../b',
      'b d',
      'b/x f 1',
    ]);
    expect(() => merged([symlink('a', 'b'), symlink('b', 'a'), file('a/x')])).toThrow('lead to each other');
    expect(() => merged([symlink('a', 'x/a'), directory('x'), symlink('x/a', '/a/y'), file('a/x')])).toThrow(
      'lead to each other',
    );
  });

  test('keep a file as long as one of its names is there', () => {
    const lower = [file('a', 1), hardlink('b', 'a'), hardlink('/c/d', '/b')];
    expect(merged(lower, [file('.wh.a'), file('b', 2)])).toEqual(['b f 2', 'c d', 'c/d f 1']);
  });

  test('name an entry twice: the last counts', () => {
    expect(
      merged([file('a', 1), file('./a', 2), directory('d'), file('/d//x', 3), file('d/./x', 4)]),
    ).toEqual(['a f 2', 'd d', 'd/x f 4']);
  });

  test('bring no devices', () => {
    expect(
      merged(
        [file('a', 1), file('b', 1)],
        [
          { type: 'device', path: 'a' },
          { type: 'device', path: 'c' },
        ],
      ),
    ).toEqual(['b f 1']);
  });
});

describe('hostile entries are refused', () => {
  test.each<[string, Fields[], string]>([
    ['a way out', [file('../x')], '".."'],
    ['a way out and back', [file('a/../b')], '".."'],
    ['a hard link out', [file('a'), hardlink('b', '../../etc/shadow')], '".."'],
    ['a hard link to nothing', [hardlink('b', '/etc/shadow')], 'no file before it'],
    ['a hard link to itself', [hardlink('b', 'b')], 'no file before it'],
    ['a hard link to a directory', [directory('a'), hardlink('b', 'a')], 'no file before it'],
    ['a hard link to the root', [hardlink('b', '/')], 'no file before it'],
    ['a file as root', [file('./')], 'root directory'],
    ['a whiteout of nothing', [file('.wh.')], 'without a name'],
    ['a whiteout of the parent', [file('a/.wh...')], 'without a name'],
    ['too long a name', [file('n'.repeat(256))], 'more than 255 bytes'],
    ['too long a path', [file('n/'.repeat(2048))], '4096 bytes'],
    ['too deep a path', [file('1/2/3/4/5/6/7')], 'deeper than 6'],
    [
      'a path that links make too deep',
      [symlink('a', 'b/b/b/b'), symlink('b/b/b/b/c', 'd/d/d'), file('a/c/x')],
      'deeper than 6',
    ],
    ['an owner that cannot be', [{ ...file('a'), uid: 2 ** 32 - 1 }], 'cannot be'],
    ['a link to nothing', [symlink('a', '')], 'a link to nothing'],
    [
      'huge attributes',
      [{ ...file('a'), xattrs: new Map([['user.a', Buffer.alloc(70_000)]]) }],
      '65536 bytes',
    ],
  ])('%s', (_, layer, message) => {
    expect(() => merged(layer)).toThrow(message);
  });

  test('attributes that would steer a union mount are left away', () => {
    const tree = createImageTree(limits);
    const names = [
      'trusted.overlay.redirect',
      'user.overlay.opaque',
      'security.selinux',
      'security.capability',
      'user.a',
    ];
    tree.addLayer([entry({ ...file('a'), xattrs: new Map(names.map((name) => [name, Buffer.from('x')])) })]);
    expect([...(tree.root.children.get('a')?.attributes.xattrs.keys() ?? [])]).toEqual([
      'security.capability',
      'user.a',
    ]);
  });
});

describe('any layers', () => {
  const name = fc.constantFrom('a', 'b', 'c');
  const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((names) => names.join('/'));
  const target = fc.tuple(fc.constantFrom('', '/', '../', '../../'), path).map(([up, rest]) => up + rest);
  const anyEntry: fc.Arbitrary<Fields> = fc.oneof(
    { weight: 5, arbitrary: fc.tuple(path, fc.nat(4095)).map(([at, id]) => file(at, id)) },
    { weight: 3, arbitrary: path.map(directory) },
    { weight: 2, arbitrary: fc.tuple(path, target).map(([at, to]) => symlink(at, to)) },
    // Most are refused, for want of a file there; and with them all the layers.
    fc.tuple(path, path).map(([at, to]) => hardlink(at, to)),
    path.map((at): Fields => ({ type: 'device', path: at })),
    path.map((at) => file(at.replace(/[^/]*$/, '.wh.$&'))),
    path.map((at) => file(at.replace(/[^/]*$/, '.wh..wh..opq'))),
  );
  const anyLayers = fc.array(fc.array(anyEntry, { maxLength: 12 }), { maxLength: 4 });

  test('are merged as the simplest model does it', () => {
    let accepted = 0;
    fc.assert(
      fc.property(anyLayers, (layers) => {
        const found = outcome(() => merged(...layers));
        if (found !== 'refused') accepted++;
        expect(found).toEqual(outcome(() => modelOf(layers)));
      }),
      { numRuns: 3000 },
    );
    expect(accepted).toBeGreaterThan(600);
  });

  test('come out of the one archive as they were merged', async () => {
    await fc.assert(
      fc.asyncProperty(anyLayers, async (layers) => {
        const tree = createImageTree(limits);
        const archives: Buffer[] = [];
        for (const layer of layers) {
          try {
            tree.addLayer(layer.map(entry));
          } catch {
            // What is refused has its own tests.
            return;
          }
          archives.push(Buffer.concat([...layer.map(withContent), tarEnd]));
        }
        async function* open(layer: number): AsyncGenerator<Buffer, void> {
          yield archives[layer] ?? tarEnd;
        }
        for (const node of allFiles(tree.root)) node.size = contentOf(node.attributes.mode).length;
        const reader = readTar(mergedTar(planTree(tree.root, limits), open, limits), 2 ** 20);
        const again = createImageTree(limits);
        const entries: TarEntry[] = [];
        for (let next = await reader.next(); next; next = await reader.next()) {
          entries.push(next);
          let content = '';
          for await (const part of reader.content()) content += part;
          if (next.type === 'file') expect(content).toBe(contentOf(next.mode));
        }
        again.addLayer(entries);
        expect(listing(again.root)).toEqual(listing(tree.root));
      }),
      { numRuns: 300 },
    );
  });
});

const contentOf = (id: number): string => `content ${id} `.repeat(id % 100);

function withContent(fields: Fields): Buffer {
  if (fields.type === 'device') return tarHeader({ ...entry(fields), type: 'fifo' });
  const content = fields.type === 'file' ? contentOf(fields.mode ?? 0) : '';
  return Buffer.concat([
    tarHeader({ ...entry(fields), type: fields.type, size: content.length }),
    Buffer.from(content),
    tarPadding(content.length),
  ]);
}

function allFiles(
  root: DirectoryNode,
): Extract<ReturnType<DirectoryNode['children']['get']>, { kind: 'file' }>[] {
  return [...root.children.values()].flatMap((node) =>
    node.kind === 'directory' ? allFiles(node) : node.kind === 'file' ? [node] : [],
  );
}

function outcome(work: () => string[]): string[] | 'refused' {
  try {
    return work();
  } catch {
    return 'refused';
  }
}

type Item = { kind: 'd' } | { kind: 'f'; id: number } | { kind: 'l'; target: string; layer: number };

/** The same rules over a plain list of paths, without a tree: slow, and easy to believe. */
function modelOf(layers: Fields[][]): string[] {
  const items = new Map<string, Item>();
  const remove = (path: string): void => {
    for (const other of [...items.keys()])
      if (other === path || other.startsWith(`${path}/`)) items.delete(other);
  };
  const isPlainDirectory = (path: string): boolean =>
    path === '' || (items.get(path)?.kind === 'd' && isPlainDirectory(parentOf(path)));

  layers.forEach((fields, layer) => {
    const place = (path: string, create: boolean, followed = 0): string | undefined => {
      if (followed > 40) throw new Error('loop');
      const parts = path.split('/').filter(Boolean);
      for (let depth = 1; depth <= parts.length; depth++) {
        const at = parts.slice(0, depth).join('/');
        const item = items.get(at);
        if (item?.kind === 'l' && item.layer === layer) {
          const resolved = lexical(
            item.target.startsWith('/') ? item.target : `${parentOf(at)}/${item.target}`,
          );
          return place([resolved, ...parts.slice(depth)].join('/'), create, followed + 1);
        }
        if (depth + 1 > limits.depth && (item?.kind === 'd' || create)) throw new Error('deep');
        if (item?.kind === 'd') continue;
        if (!create) return undefined;
        remove(at);
        items.set(at, { kind: 'd' });
      }
      return parts.join('/');
    };
    const join = (parent: string, name: string): string => (parent === '' ? name : `${parent}/${name}`);

    for (const { path } of fields) {
      const [parent, name] = [parentOf(path), path.split('/').at(-1) ?? ''];
      if (!name.startsWith('.wh.') || !isPlainDirectory(parent)) continue;
      if (name === '.wh..wh..opq') {
        for (const other of [...items.keys()])
          if (parent === '' || other.startsWith(`${parent}/`)) items.delete(other);
      } else remove(join(parent, name.slice(4)));
    }
    for (const { type, path, linkPath = '', mode = 0 } of fields) {
      const name = path.split('/').at(-1) ?? '';
      if (name.startsWith('.wh.')) continue;
      let linked: Item | undefined;
      if (type === 'hardlink') {
        const from = place(parentOf(linkPath), false);
        linked = from === undefined ? undefined : items.get(join(from, linkPath.split('/').at(-1) ?? ''));
        if (linked === undefined || linked.kind === 'd') throw new Error('no file');
      }
      const at = join(place(parentOf(path), true) ?? '', name);
      if (type === 'directory' && items.get(at)?.kind === 'd') continue;
      remove(at);
      if (type === 'directory') items.set(at, { kind: 'd' });
      if (type === 'file') items.set(at, { kind: 'f', id: mode });
      if (type === 'symlink') items.set(at, { kind: 'l', target: linkPath, layer });
      if (linked !== undefined) items.set(at, linked);
    }
  });
  return [...items]
    .map(
      ([path, item]) =>
        `${path} ${item.kind === 'd' ? 'd' : item.kind === 'f' ? `f ${item.id}` : `l ${item.target}`}`,
    )
    .sort();
}

function parentOf(path: string): string {
  return path.split('/').slice(0, -1).join('/');
}

function lexical(path: string): string {
  const parts: string[] = [];
  for (const part of path.split('/').filter(Boolean)) {
    if (part === '..') parts.pop();
    else parts.push(part);
  }
  return parts.join('/');
}
