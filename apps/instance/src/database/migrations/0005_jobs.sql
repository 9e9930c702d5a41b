-- What people submit. The queue's row of a job (jobs) says where it stands; its record here says what it is.

create table submitted_jobs (
  job_id bigint primary key references jobs (id) on delete cascade,
  user_id bigint references users (id) on delete set null,
  repository text,
  revision text,
  commit text check (commit ~ '^[0-9a-f]{40}([0-9a-f]{24})?$'),
  -- Steps and how to run them (features/jobs/submission.ts, JobSpec).
  spec jsonb not null,
  -- [{path, text} | {path, key, bytes}]: small texts are kept here, everything else is a blob.
  files jsonb not null,
  notices text[] not null,
  idempotency_key text,
  -- Of the submission as it came: the same key with another body is refused.
  body_sha256 bytea
);
create unique index submitted_jobs_idempotency on submitted_jobs (user_id, idempotency_key)
  where idempotency_key is not null;

-- Every blob of a submitted file. A row is written before its blob, and loses its job when that is deleted: rows
-- without a job, once they are old enough, are blobs to delete. So no crash leaves a blob that nobody knows.
create table submitted_files (
  key text primary key,
  job_id bigint references jobs (id) on delete set null,
  created_at timestamptz not null default now()
);
create index submitted_files_job on submitted_files (job_id) where job_id is not null;
create index submitted_files_orphans on submitted_files (created_at) where job_id is null;
