/** Bounds on what a repository may cost the instance. Times in seconds, sizes in bytes. */
export interface RepositoryLimits {
  /** A mirror that grows past this while it is fetched is dropped (first fetch) or left as it was. */
  maxMirrorBytes: number;
  /** A fetch that takes longer is killed; also the first one, which transfers everything. */
  fetchSeconds: number;
  /** How long a request waits for a fetch, which goes on without it. */
  waitSeconds: number;
  /** A branch, tag or HEAD is answered from a mirror fetched at most this long ago. */
  freshSeconds: number;
  /** An HTTP transfer below 1000 bytes a second for this long is given up. */
  stallSeconds: number;
  /** Fetches running at the same time; each may use a core and hundreds of MiB. */
  concurrentFetches: number;
  /** `git upload-pack` processes at the same time; further clones wait for their turn. */
  concurrentUploads: number;
  /** One answer to an executor may take this long, the time it waits for its turn not counted. */
  uploadSeconds: number;
  /** Body of one `git-upload-pack` request, unpacked. A line is 50 bytes: this is 640 000 wanted objects. */
  maxRequestBytes: number;
  /** Any other git command: they read one mirror and answer in milliseconds. */
  commandSeconds: number;
  /** A mirror with more packs than this is repacked; each fetch that brings something adds one. */
  maxPacks: number;
  /** Commits that jobs named stay reachable for this many months, whatever happens to their branches. */
  keepJobCommitsMonths: number;
}

export const defaultRepositoryLimits: RepositoryLimits = {
  maxMirrorBytes: 20 * 1024 ** 3,
  fetchSeconds: 3600,
  waitSeconds: 60,
  freshSeconds: 30,
  stallSeconds: 30,
  concurrentFetches: 4,
  concurrentUploads: 32,
  uploadSeconds: 3600,
  maxRequestBytes: 32 * 1024 ** 2,
  commandSeconds: 30,
  maxPacks: 50,
  keepJobCommitsMonths: 12,
};
