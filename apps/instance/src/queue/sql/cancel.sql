-- $1 job id. A job that nobody holds ends at once; a held one is flagged, and its executor is told.
with job as materialized (
  select id, state, in_lane, cancel_requested,
    state = 'queued' or state = 'processing' and in_lane as ends
  from jobs where id = $1 for no key update
), changed as (
  update jobs set
    state = case when job.ends then 'canceled' else jobs.state end, in_lane = false, returned = false,
    finished_at = case when job.ends then kiln_now() end,
    token_sha256 = case when job.ends then null else jobs.token_sha256 end,
    lease_expires_at = case when job.ends then null else jobs.lease_expires_at end,
    confirm_by = case when job.ends then null else jobs.confirm_by end,
    available_at = null,
    cancel_requested = not job.ends, cancel_requested_at = kiln_now(), cancel_reason = 'user'
  from job
  where jobs.id = job.id and (job.ends or job.state = 'processing' and not job.cancel_requested)
  returning jobs.id, jobs.queue, jobs.tenant, jobs.needs_limits, job.in_lane as was_in_lane
), counted as (
  update lanes set waiting = waiting - 1, waiting_plain = waiting_plain - (not changed.needs_limits)::int
  from changed where lanes.queue = changed.queue and lanes.tenant = changed.tenant and changed.was_in_lane
)
select case when ends then 'canceled' when state = 'processing' then 'requested' else 'ended' end as outcome,
  (select queue from changed) as queue,
  (select pg_notify('kiln_job', id::text) from changed) as notified
from job
