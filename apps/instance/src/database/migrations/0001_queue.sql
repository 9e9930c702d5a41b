-- The queue's clock. Everything that is compared with a lease or a deadline comes from here, so one clock decides,
-- the database's; a test replaces this function in its own database to move time.
create function kiln_now() returns timestamptz language sql stable parallel safe as 'select now()';

-- Order in which lanes were served. A claim of many jobs takes one number and counts on from it.
create sequence lane_turns as bigint increment by 1024 start with 1024;

-- One queue's jobs of one tenant. The lane served longest ago is served next, which is found without looking at jobs.
create table lanes (
  queue text not null,
  tenant bigint not null,
  -- Turn of the last claim; 0: never.
  served bigint not null default 0,
  -- Exact number of the lane's jobs with in_lane, and of those that any executor may have.
  waiting int not null default 0 check (waiting >= 0),
  waiting_plain int not null default 0 check (waiting_plain between 0 and waiting),
  primary key (queue, tenant)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
  autovacuum_vacuum_cost_delay = 0);
create index lanes_waiting on lanes (queue, served) where waiting > 0;
create index lanes_waiting_plain on lanes (queue, served) where waiting_plain > 0;

create table jobs (
  id bigint generated always as identity primary key,
  queue text not null,
  tenant bigint not null,
  producer text not null,
  state text not null default 'queued'
    check (state in ('queued', 'processing', 'completed', 'failed', 'canceled')),
  -- Claimable: queued and not delayed, or processing with a lease that ran out (its executor may still take it back).
  in_lane boolean not null,
  -- At the head of its lane, because an attempt of it came to nothing.
  returned boolean not null default false,
  priority smallint not null check (priority between -100 and 100),
  needs_limits boolean not null,
  timeout_seconds int not null check (timeout_seconds > 0),
  repository_name text,
  -- Number of the last claim; the fencing number. Never goes back.
  attempt int not null default 0,
  resets int not null default 0,
  -- Claims in a row that were never confirmed.
  unconfirmed int not null default 0,
  executor_name text,
  isolation jsonb,
  -- Of the random part of the last claim's token; null: no token is good.
  token_sha256 bytea,
  -- Not indexed, and so may no other column be that a heartbeat changes: it must stay a heap-only update.
  lease_expires_at timestamptz,
  -- Null: confirmed, or nothing to confirm.
  confirm_by timestamptz,
  deadline_at timestamptz,
  cancel_requested boolean not null default false,
  cancel_requested_at timestamptz,
  cancel_reason text check (cancel_reason in ('user', 'timeout')),
  -- The mark that ended the job, for repeats of the same request.
  final_mark text check (final_mark in ('complete', 'errored', 'failed')),
  failure_kind text check (failure_kind in ('errored', 'failed', 'lost', 'timeout', 'document')),
  failure_message text,
  usage jsonb not null default '[]',
  queued_at timestamptz not null default kiln_now(),
  -- A queued job is not claimed before.
  available_at timestamptz,
  started_at timestamptz,
  finished_at timestamptz,
  check (not in_lane or state in ('queued', 'processing')),
  -- A job that is to be cancelled ends when it is lost or given back; it never waits again.
  check (not (in_lane and cancel_requested)),
  check ((finished_at is not null) = (state in ('completed', 'failed', 'canceled'))),
  check ((failure_kind is not null) = (state = 'failed'))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
  autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05,
  autovacuum_vacuum_cost_delay = 1);
create index jobs_lane on jobs (queue, tenant, returned desc, priority desc, id) where in_lane;
create index jobs_lane_plain on jobs (queue, tenant, returned desc, priority desc, id)
  where in_lane and not needs_limits;
create index jobs_processing on jobs (executor_name) where state = 'processing';
create index jobs_delayed on jobs (available_at) where state = 'queued' and not in_lane;
-- Views list jobs by id, newest first; the queued and the unsuccessful are few among many.
create index jobs_tenant on jobs (tenant, id);
create index jobs_queued on jobs (id) where state = 'queued';
create index jobs_unsuccessful on jobs (id) where state in ('failed', 'canceled');
-- Retention looks for old rows, which lie together: a block range index costs the marks nothing.
create index jobs_finished on jobs using brin (finished_at) with (pages_per_range = 32);

-- Attempts after which the job went on. The last attempt is in the job's row, so an ordinary job costs nothing here.
create table past_attempts (
  job_id bigint not null references jobs (id) on delete cascade,
  attempt int not null,
  executor_name text,
  isolation jsonb,
  started_at timestamptz,
  ended_at timestamptz not null,
  ended text not null check (ended in
    ('lost', 'unconfirmed', 'unclaimed', 'released', 'document', 'completed', 'failed', 'canceled')),
  failure_kind text,
  message text,
  usage jsonb not null default '[]',
  primary key (job_id, attempt)
);

-- Written each second while an instance runs: time without one does not count against leases.
create table beat (
  only_row boolean primary key default true check (only_row),
  at timestamptz not null
);
