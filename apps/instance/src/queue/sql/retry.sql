-- $1 job id: queues an ended job again. What its last attempt came to is kept with the earlier ones.
with job as materialized (
  select * from jobs where id = $1 for no key update
), past as (
  insert into past_attempts
    (job_id, attempt, executor_name, isolation, started_at, ended_at, ended, failure_kind, message, usage)
  select id, attempt, executor_name, isolation, started_at, finished_at, state, failure_kind, failure_message, usage
  from job where finished_at is not null and attempt > 0
  -- The attempt may have been given back before the job was canceled; then it is recorded.
  on conflict do nothing
), changed as (
  update jobs set
    state = 'queued', in_lane = true, returned = false, resets = 0, unconfirmed = 0, executor_name = null,
    isolation = null, token_sha256 = null, lease_expires_at = null, confirm_by = null, deadline_at = null,
    cancel_requested = false, cancel_requested_at = null, cancel_reason = null, final_mark = null,
    failure_kind = null, failure_message = null, usage = '[]', queued_at = kiln_now(), available_at = null,
    started_at = null, finished_at = null
  from job where jobs.id = job.id and job.finished_at is not null
  returning jobs.id, jobs.queue, jobs.tenant, jobs.needs_limits
), counted as (
  update lanes set waiting = waiting + 1, waiting_plain = waiting_plain + (not changed.needs_limits)::int
  from changed where lanes.queue = changed.queue and lanes.tenant = changed.tenant
)
select finished_at is not null as queued,
  (select pg_notify('kiln_job', id::text) from changed) as notified_job,
  (select pg_notify('kiln_queue', queue) from changed) as notified_queue
from job
