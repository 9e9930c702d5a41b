import { ImageError } from './image-error.ts';
import type { ImageLimits } from './limits.ts';
import type { TarEntry } from './tar-reader.ts';

export type Attributes = Pick<TarEntry, 'mode' | 'uid' | 'gid' | 'mtime' | 'xattrs'>;

export interface DirectoryNode {
  kind: 'directory';
  attributes: Attributes;
  layer: number;
  children: Map<string, TreeNode>;
}
/** Hard links are several names of one node. */
export interface FileNode {
  kind: 'file';
  attributes: Attributes;
  layer: number;
  /** Which entry of its layer has the content, counted from 0. */
  ordinal: number;
  size: number;
}
export interface SymlinkNode {
  kind: 'symlink';
  attributes: Attributes;
  layer: number;
  target: string;
}
export interface FifoNode {
  kind: 'fifo';
  attributes: Attributes;
  layer: number;
}
export type TreeNode = DirectoryNode | FileNode | SymlinkNode | FifoNode;

/** The file system of an image, without the contents of files. */
export interface ImageTree {
  readonly root: DirectoryNode;
  /**
   * Lays a layer over those before it. Its whiteouts count first, wherever they stand: they hide what lower layers have,
   * never what the layer itself brings.
   * @throws ImageError
   */
  addLayer(entries: Iterable<TarEntry>): void;
}

const whiteoutPrefix = '.wh.';
const opaqueMarker = '.wh..wh..opq';
const maxLinksFollowed = 40;
const maxXattrBytes = 65_536;
const impliedAttributes: Attributes = { mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: new Map() };

export function createImageTree(limits: ImageLimits): ImageTree {
  const root: DirectoryNode = newDirectory(-1, impliedAttributes);
  let layer = 0;

  /**
   * The directory of a path, step by step. A link of the layer itself is followed, within the image, as an extracting
   * program would; anything else in the way, a lower layer's link too, gives way to a directory, as in a union mount.
   */
  function directoryAt(components: readonly string[], create: boolean): DirectoryNode | undefined {
    const trail: DirectoryNode[] = [root];
    const left = [...components].reverse();
    for (let followed = 0; ; ) {
      const here = trail.at(-1) ?? root;
      const name = left.pop();
      if (name === undefined) return here;
      if (name === '..') {
        if (trail.length > 1) trail.pop();
        continue;
      }
      const child = here.children.get(name);
      if (child?.kind === 'symlink' && child.layer === layer) {
        if (++followed > maxLinksFollowed)
          throw new ImageError(`the links at ${shown(components.join('/'))} lead to each other`);
        if (child.target.startsWith('/')) trail.length = 1;
        left.push(...linkComponents(child.target).reverse());
        continue;
      }
      if (child?.kind === 'directory') trail.push(child);
      else {
        if (!create) return undefined;
        const made = newDirectory(layer, impliedAttributes);
        here.children.set(name, made);
        trail.push(made);
      }
      if (trail.length > limits.depth)
        throw new ImageError(`${shown(components.join('/'))} lies deeper than ${limits.depth} directories`);
    }
  }

  function applyWhiteout(components: readonly string[], base: string): void {
    const hidden = base.slice(whiteoutPrefix.length);
    if (hidden === '' || hidden === '.' || hidden === '..')
      throw new ImageError(`a layer hides a file without a name (${shown(base)})`);
    // Lower layers' links are not followed: what is hidden is what stands there itself.
    let parent: DirectoryNode = root;
    for (const name of components) {
      const child = parent.children.get(name);
      if (child?.kind !== 'directory') return;
      parent = child;
    }
    if (base === opaqueMarker) parent.children.clear();
    // The others of two prefixes are the bookkeeping of a union file system of old.
    else if (!hidden.startsWith(whiteoutPrefix)) parent.children.delete(hidden);
  }

  function applyEntry(entry: TarEntry, ordinal: number): void {
    const components = componentsOf(entry.path, limits);
    const base = components.at(-1);
    const attributes = attributesOf(entry);
    if (base === undefined) {
      if (entry.type !== 'directory') throw new ImageError('a layer replaces the root directory by a file');
      root.attributes = attributes;
      return;
    }
    // Found before the place for the new name is made, which may replace what leads there.
    const linked = entry.type === 'hardlink' ? linkedNode(entry) : undefined;
    const parent = directoryAt(components.slice(0, -1), true) ?? root;
    const existing = parent.children.get(base);
    switch (entry.type) {
      case 'directory':
        if (existing?.kind === 'directory') {
          existing.attributes = attributes;
          existing.layer = layer;
        } else parent.children.set(base, newDirectory(layer, attributes));
        return;
      case 'file':
        parent.children.set(base, { kind: 'file', attributes, layer, ordinal, size: entry.size });
        return;
      case 'symlink':
        checkLinkTarget(entry, limits);
        parent.children.set(base, { kind: 'symlink', attributes, layer, target: entry.linkPath });
        return;
      case 'hardlink':
        if (linked !== undefined) parent.children.set(base, linked);
        return;
      case 'fifo':
        parent.children.set(base, { kind: 'fifo', attributes, layer });
        return;
      case 'device':
        // Containers get their own devices. In a lower layer of a union mount some devices would hide files besides.
        parent.children.delete(base);
    }
  }

  function linkedNode(entry: TarEntry): TreeNode {
    const components = componentsOf(entry.linkPath, limits);
    const found = directoryAt(components.slice(0, -1), false)?.children.get(components.at(-1) ?? '');
    if (found === undefined || found.kind === 'directory')
      throw new ImageError(
        `${shown(entry.path)} is a hard link to ${shown(entry.linkPath)}, which is no file before it`,
      );
    return found;
  }

  return {
    root,
    addLayer(entries) {
      const kept: { entry: TarEntry; ordinal: number }[] = [];
      let ordinal = 0;
      for (const entry of entries) {
        const components = componentsOf(entry.path, limits);
        const base = components.at(-1) ?? '';
        if (base.startsWith(whiteoutPrefix)) applyWhiteout(components.slice(0, -1), base);
        else kept.push({ entry, ordinal });
        ordinal++;
      }
      for (const one of kept) applyEntry(one.entry, one.ordinal);
      layer++;
    },
  };
}

function newDirectory(layer: number, attributes: Attributes): DirectoryNode {
  return { kind: 'directory', attributes, layer, children: new Map() };
}

/** Absolute paths are the image's own, as everywhere. A way out of the image is refused even where it would lead back in. */
function componentsOf(path: string, limits: ImageLimits): string[] {
  if (path.length > limits.pathBytes)
    throw new ImageError(
      `a layer has a path of ${path.length} bytes; at most ${limits.pathBytes} are possible`,
    );
  const components = path.split('/').filter((name) => name !== '' && name !== '.');
  if (components.includes('..')) throw new ImageError(`a layer has the path ${shown(path)}, with ".." in it`);
  if (components.length > limits.depth)
    throw new ImageError(`${shown(path)} lies deeper than ${limits.depth} directories`);
  if (components.some((name) => name.length > limits.nameBytes))
    throw new ImageError(`a layer has a name of more than ${limits.nameBytes} bytes: ${shown(path)}`);
  return components;
}

function linkComponents(target: string): string[] {
  return target.split('/').filter((name) => name !== '' && name !== '.');
}

function checkLinkTarget(entry: TarEntry, limits: ImageLimits): void {
  if (entry.linkPath === '' || entry.linkPath.length > limits.pathBytes)
    throw new ImageError(`${shown(entry.path)} is a link to nothing, or to too long a path`);
}

function attributesOf(entry: TarEntry): Attributes {
  const { mode, uid, gid } = entry;
  if (uid > 0xffff_fffe || gid > 0xffff_fffe)
    throw new ImageError(`${shown(entry.path)} has an owner that cannot be (${uid}:${gid})`);
  return {
    mode,
    uid,
    gid,
    // All that squashfs can say.
    mtime: Math.min(entry.mtime, 0xffff_ffff),
    xattrs: keptXattrs(entry),
  };
}

/**
 * What programs in the image go by. `trusted.*` and `*.overlay.*` would steer the union mount over the image (hide files,
 * lead elsewhere), and the labels of security modules mean nothing on another machine.
 */
function keptXattrs({ xattrs, path }: TarEntry): ReadonlyMap<string, Buffer> {
  if (xattrs.size === 0) return impliedAttributes.xattrs;
  const kept = [...xattrs]
    .filter(([name]) => name === 'security.capability' || /^user\.(?!overlay\.)[^\0]{1,200}$/.test(name))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  if (kept.reduce((sum, [, value]) => sum + value.length, 0) > maxXattrBytes)
    throw new ImageError(`${shown(path)} has more than ${maxXattrBytes} bytes of extended attributes`);
  return new Map(kept);
}

/** Paths are bytes and somebody else's. */
export function shown(path: string): string {
  const text = Buffer.from(path, 'latin1').toString('utf8');
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}...` : text);
}
