-- An attempt ends without a result: $1 job id, $2 executor name or null (the instance itself gives it back),
-- $3 attempt or null, $4 how it ended ('released', 'unclaimed', 'document'), $5 message, $6 whether it counts as a
-- reset, $7 resets after which the job fails, $8 seconds until it may be claimed again (0: at once), $9 failure kind
-- when it must not be tried again, else null.
with job as materialized (
  select job.*,
    case
      when $3::bigint < attempt then 'stale'
      when $2::text is not null and executor_name is distinct from $2 or $3 > attempt or state <> 'processing' then 'unknown'
    end as refused,
    case
      when cancel_reason = 'user' then 'canceled'
      when cancel_reason = 'timeout' then 'failed'
      when $9::text is not null or $6 and resets >= $7 then 'failed'
      else 'queued'
    end as next_state,
    case
      when cancel_reason = 'user' then null
      when cancel_reason = 'timeout' then 'timeout'
      when $9 is not null then $9
      when $6 and resets >= $7 then 'lost'
    end as next_failure_kind
  from jobs job where id = $1 for no key update
), past as (
  insert into past_attempts (job_id, attempt, executor_name, isolation, started_at, ended_at, ended, message)
  select id, attempt, executor_name, isolation, started_at, kiln_now(), $4, nullif($5, '')
  from job where refused is null and next_state = 'queued'
), changed as (
  update jobs set
    state = job.next_state, in_lane = job.next_state = 'queued' and $8::float8 = 0, returned = job.next_state = 'queued',
    resets = jobs.resets + ($6 and job.next_state = 'queued')::int,
    failure_kind = job.next_failure_kind,
    failure_message = case when job.next_state = 'failed' then nullif($5, '') end,
    executor_name = case when job.next_state = 'queued' then null else jobs.executor_name end,
    isolation = case when job.next_state = 'queued' then null else jobs.isolation end,
    available_at = case when job.next_state = 'queued' and $8 > 0 then kiln_now() + make_interval(secs => $8) end,
    started_at = case when job.next_state = 'queued' then null else jobs.started_at end,
    finished_at = case when job.next_state = 'queued' then null else kiln_now() end,
    token_sha256 = null, lease_expires_at = null, confirm_by = null, deadline_at = null
  from job where jobs.id = job.id and job.refused is null
  returning jobs.id, jobs.queue, jobs.tenant, jobs.in_lane, jobs.needs_limits, job.in_lane as was_in_lane
), counted as (
  update lanes set
    waiting = waiting + changed.in_lane::int - changed.was_in_lane::int,
    waiting_plain = waiting_plain
      + case when changed.needs_limits then 0 else changed.in_lane::int - changed.was_in_lane::int end
  from changed
  where lanes.queue = changed.queue and lanes.tenant = changed.tenant and changed.in_lane <> changed.was_in_lane
)
select job.queue, job.refused, job.next_state as state, job.next_failure_kind as "failureKind",
  -- The same release again: its answer may have been lost on the way.
  exists (
    select from past_attempts past
    where past.job_id = job.id and past.ended = $4 and past.executor_name = $2
      and past.attempt = coalesce($3, job.attempt)
  ) as repeated,
  (select pg_notify('kiln_job', id::text) from changed) as notified_job,
  (select pg_notify('kiln_queue', queue) from changed where in_lane) as notified_queue
from job
