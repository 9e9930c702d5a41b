import { ImageError } from './image-error.ts';
import { type DirectoryNode, shown, type TreeNode } from './image-tree.ts';
import type { ImageLimits } from './limits.ts';
import { readTar } from './tar-reader.ts';
import { tarEnd, tarHeader, tarPadding, type WrittenEntry } from './tar-writer.ts';

type Leaf = Exclude<TreeNode, DirectoryNode>;

/** An image's tree in the order in which it is written. */
export interface TreePlan {
  directories: { path: string; node: DirectoryNode }[];
  /** Every name of each node, the first of which is written as itself and the others as hard links to it. */
  leaves: Map<Leaf, string[]>;
  /** The newest time in the image; seconds since 1970. */
  newestSeconds: number;
}

/** @throws ImageError when a path is too long */
export function planTree(root: DirectoryNode, limits: ImageLimits): TreePlan {
  const plan: TreePlan = { directories: [], leaves: new Map(), newestSeconds: root.attributes.mtime };
  const visit = (directory: DirectoryNode, prefix: string): void => {
    for (const [name, node] of [...directory.children].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const path = prefix + name;
      if (path.length > limits.pathBytes) throw new ImageError(`the path ${shown(path)} is too long`);
      plan.newestSeconds = Math.max(plan.newestSeconds, node.attributes.mtime);
      if (node.kind === 'directory') {
        plan.directories.push({ path, node });
        visit(node, `${path}/`);
        continue;
      }
      const names = plan.leaves.get(node);
      if (names) names.push(path);
      else plan.leaves.set(node, [path]);
    }
  };
  visit(root, '');
  return plan;
}

/**
 * The whole image as one archive: directories, links, then the files of each layer in the order they stand in it, so that
 * contents pass through and are never held.
 * @param openLayer gives the decompressed archive of a layer, again for each call
 */
export async function* mergedTar(
  plan: TreePlan,
  openLayer: (layer: number) => AsyncIterable<Buffer>,
  limits: ImageLimits,
): AsyncGenerator<Buffer, void> {
  for (const { path, node } of plan.directories)
    yield tarHeader({ ...plain(node, path), type: 'directory', size: 0 });
  const filesByLayer = new Map<number, Map<number, { node: TreeNode & { kind: 'file' }; names: string[] }>>();
  for (const [node, names] of plan.leaves) {
    const [first = ''] = names;
    if (node.kind === 'file') {
      const files = filesByLayer.get(node.layer) ?? new Map();
      filesByLayer.set(node.layer, files.set(node.ordinal, { node, names }));
      continue;
    }
    const linkPath = node.kind === 'symlink' ? node.target : '';
    yield tarHeader({ ...plain(node, first), type: node.kind, linkPath, size: 0 });
    yield* hardLinks(node, names);
  }
  for (const [layer, files] of [...filesByLayer].sort(([a], [b]) => a - b)) {
    const archive = readTar(openLayer(layer), limits.headerBytes);
    for (let ordinal = 0; files.size > 0; ordinal++) {
      const entry = await archive.next();
      if (entry === undefined) throw new ImageError(`layer ${layer + 1} has changed while it was read`);
      const file = files.get(ordinal);
      if (file === undefined) continue;
      files.delete(ordinal);
      yield tarHeader({ ...plain(file.node, file.names[0] ?? ''), type: 'file', size: file.node.size });
      yield* archive.content();
      yield tarPadding(file.node.size);
      yield* hardLinks(file.node, file.names);
    }
    await archive.end();
  }
  yield tarEnd;
}

function plain(node: TreeNode, path: string): Omit<WrittenEntry, 'type' | 'size'> {
  return { path, linkPath: '', ...node.attributes };
}

function* hardLinks(node: Leaf, [first = '', ...others]: readonly string[]): Generator<Buffer, void> {
  for (const path of others)
    yield tarHeader({ ...plain(node, path), type: 'hardlink', linkPath: first, size: 0, xattrs: new Map() });
}
