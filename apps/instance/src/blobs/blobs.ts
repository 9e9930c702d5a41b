/** Where large, immutable bytes live: log archives, submitted files. Keys are paths such as `logs/042/1042-1`. */
export interface Blobs {
  /**
   * Stores a blob whole or not at all, replacing one of the same key.
   * @throws RangeError for a key with anything but letters, digits, `.`, `_`, `-` and `/`
   */
  put(key: string, body: AsyncIterable<Uint8Array>): Promise<{ sizeBytes: number }>;
  /** Opens a blob, or the bytes from `start` up to but without `end`. Undefined when there is none of this key. */
  get(key: string, range?: BlobRange): Promise<Blob | undefined>;
  /** No error when it is already gone. */
  delete(key: string): Promise<void>;
}

export interface BlobRange {
  start: number;
  end: number;
}

export interface Blob {
  /** Of the whole blob, whatever the range. */
  sizeBytes: number;
  body: AsyncIterable<Uint8Array>;
}
