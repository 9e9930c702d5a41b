-- Executors, by their last heartbeat (reference section 4). A row per executor process: names are new at each start.
create table executors (
  name text primary key,
  queues text[] not null,
  os text not null,
  architecture text not null,
  docker_version text not null,
  executor_version text not null,
  git_version text not null,
  ignite_version text not null,
  src_cli_version text not null,
  kiln_version text not null,
  extensions text[] not null,
  slots bigint,
  running bigint,
  isolation jsonb,
  draining boolean not null default false,
  ended_because text,
  first_seen_at timestamptz not null default now(),
  last_seen_at timestamptz not null default now()
)
-- A fleet of 1,000 updates 200 rows a second; room in the page and no index on last_seen_at keep those updates HOT.
with (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02);
create index executors_by_first_seen on executors (first_seen_at desc, name);

-- One row per job that has logged anything. Every write to a job's log locks it.
create table job_logs (
  job_id bigint primary key,
  -- The attempt that may write; an older one is refused.
  attempt integer not null,
  entries integer not null,
  -- Output kept of this attempt, which logs.maxBytesPerJob limits.
  kept_bytes bigint not null default 0,
  -- Nothing of it is left to archive.
  settled boolean not null default false,
  written_at timestamptz not null default now()
)
with (fillfactor = 70);
create index job_logs_to_archive on job_logs (job_id) where not settled;

create table log_entries (
  job_id bigint not null,
  attempt integer not null,
  -- From 1, within the attempt.
  entry integer not null,
  key text not null,
  command jsonb not null,
  started_at timestamptz not null,
  exit_code bigint,
  duration_ms bigint,
  -- Output that the executor has sent, and output that can be read: fewer bytes once the limit was reached.
  received_bytes bigint not null default 0,
  bytes bigint not null default 0,
  dropped boolean not null default false,
  -- Of those bytes, where a whole-entry update left it; null after an append.
  sha256 bytea,
  -- Grows when output that was already stored is replaced.
  revision integer not null default 0,
  -- The first archived_bytes are in this blob from blob_offset on; later ones are in log_chunks.
  blob_key text,
  blob_offset bigint,
  archived_bytes bigint not null default 0,
  primary key (job_id, attempt, entry)
)
with (fillfactor = 70);

-- Append-only; rows of at most 256 KiB.
create table log_chunks (
  job_id bigint not null,
  attempt integer not null,
  entry integer not null,
  -- Position of the first byte within the entry's output.
  start bigint not null,
  data bytea not null,
  primary key (job_id, attempt, entry, start)
);
-- Chunks are written once and read a few times; compressing them costs more than it saves until they are archived.
alter table log_chunks alter column data set storage external;

-- Every blob that may hold a job's log, written before the blob itself, so that none is forgotten.
create table log_blobs (
  blob_key text primary key,
  job_id bigint not null
);
create index log_blobs_by_job on log_blobs (job_id);
