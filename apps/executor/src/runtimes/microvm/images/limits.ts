/** What an image may be at most. Everything in it is somebody else's: each of these would otherwise fill memory, disk or time. */
export interface ImageLimits {
  manifestBytes: number;
  configBytes: number;
  layers: number;
  /** Sum of the layers as they are stored. */
  packedBytes: number;
  /** Sum of the layers once decompressed, headers and what later layers remove included. */
  unpackedBytes: number;
  /** In all layers together: each costs some hundred bytes of memory while the layers are merged. */
  entries: number;
  /** Linux takes no longer path in a system call. */
  pathBytes: number;
  /** Linux and squashfs take no longer name. */
  nameBytes: number;
  depth: number;
  /** Of all extended attributes of an entry, and of each other thing that precedes an entry. */
  headerBytes: number;
}

export const imageLimits: ImageLimits = {
  manifestBytes: 4 * 2 ** 20,
  configBytes: 8 * 2 ** 20,
  layers: 256,
  packedBytes: 64 * 2 ** 30,
  unpackedBytes: 128 * 2 ** 30,
  entries: 1_000_000,
  pathBytes: 4095,
  nameBytes: 255,
  depth: 256,
  headerBytes: 2 ** 20,
};
