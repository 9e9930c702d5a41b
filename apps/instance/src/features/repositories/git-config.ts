/**
 * The configuration of every git process of this feature, in place of the user's and the system's. It also reaches
 * what git starts by itself (`upload-pack` of a local source), which `-c` options do not.
 */
export function gitConfig({ stallSeconds }: { stallSeconds: number }): string {
  return `# Written at each start of the instance.
[core]
  hooksPath = /dev/null
  fsmonitor = false
  # Larger blobs are streamed to disk, not held in memory.
  bigFileThreshold = 64m
[init]
  defaultBranch = main
[credential]
  helper =
[protocol]
  # Each command names its one transport in GIT_ALLOW_PROTOCOL.
  allow = never
  version = 2
[http]
  # A renamed repository redirects; to https only, by GIT_ALLOW_PROTOCOL. Later requests never follow.
  followRedirects = initial
  lowSpeedLimit = 1000
  lowSpeedTime = ${stallSeconds}
[transfer]
  bundleURI = false
[fetch]
  recurseSubmodules = false
  writeCommitGraph = false
  # Always one pack for each fetch: what a fetch leaves behind is few files, counted and cleaned easily.
  unpackLimit = 1
  fsckObjects = true
# Checked is what can hurt a checkout: "..", ".git" and "/" in trees, hostile .gitmodules. Flaws that old tools left in
# the history of honest repositories, and that are harmless, pass; a strict check refuses well-known projects.
[fetch "fsck"]
  badDate = ignore
  badDateOverflow = ignore
  badEmail = ignore
  badFilemode = ignore
  badName = ignore
  badTimezone = ignore
  gitignoreSymlink = ignore
  gitattributesSymlink = ignore
  mailmapSymlink = ignore
  missingAuthor = ignore
  missingEmail = ignore
  missingNameBeforeEmail = ignore
  missingSpaceBeforeDate = ignore
  missingSpaceBeforeEmail = ignore
  missingTagger = ignore
  missingTaggerEntry = ignore
  multipleAuthors = ignore
  nulInCommit = ignore
  zeroPaddedDate = ignore
  zeroPaddedFilemode = ignore
[submodule]
  recurse = false
[gc]
  auto = 0
[maintenance]
  auto = false
[pack]
  threads = 2
  windowMemory = 256m
[safe]
  # The owner of a directory is no reason for us to refuse it: mirrors are ours (volumes get their owner changed), and
  # a local source was registered by a site admin; what it may borrow is checked in local-source.ts.
  directory = *
[uploadpack]
  allowFilter = true
  # Jobs fetch a bare commit, which need not be the tip of anything.
  allowAnySHA1InWant = true
  hideRefs = refs/kiln
# Filters that cost the server nothing; "sparse:oid" makes it evaluate patterns over whole trees.
[uploadpackfilter]
  allow = false
[uploadpackfilter "blob:none"]
  allow = true
[uploadpackfilter "blob:limit"]
  allow = true
[uploadpackfilter "tree"]
  allow = true
`;
}
