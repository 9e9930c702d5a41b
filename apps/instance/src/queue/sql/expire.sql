-- Attempts whose lease or confirmation ran out ($1 unconfirmed claims in a row count as a reset, $2 resets are
-- allowed) wait at the head of their lane; what can no longer go on ends. $3 seconds after a cancellation that its
-- executor does not obey, the job ends without it. $4 message of a job lost too often, $5 of one out of time,
-- $6 how many at most.
with candidate as materialized (
  -- In the order of the small index of running jobs; in the order of ids the planner would read the whole history.
  select id, queue, tenant from jobs
  where state = 'processing' and not in_lane
    and (lease_expires_at <= kiln_now() or confirm_by <= kiln_now()
      or cancel_requested_at <= kiln_now() - make_interval(secs => $3))
  order by executor_name limit $6
), lane as materialized (
  -- Never waits: what somebody holds is left to the next sweep. Otherwise one forgotten transaction would stop it.
  select queue, tenant from lanes
  where (queue, tenant) in (select queue, tenant from candidate)
  for no key update skip locked
), job as materialized (
  select id, queue, tenant, needs_limits,
    case
      when cancel_reason = 'user' then 'canceled'
      when cancel_reason = 'timeout' then 'failed'
      when resets >= $2 and (confirm_by is null or unconfirmed + 1 >= $1) then 'failed'
      else 'processing'
    end as next_state,
    coalesce(cancel_reason, 'lost') as reason
  from jobs join candidate using (id, queue, tenant) join lane using (queue, tenant)
  -- Once more, on the row as it is when it is locked.
  where state = 'processing' and not in_lane
    and (lease_expires_at <= kiln_now() or confirm_by <= kiln_now()
      or cancel_requested_at <= kiln_now() - make_interval(secs => $3))
  order by id for no key update of jobs skip locked
), changed as (
  update jobs set
    state = job.next_state, in_lane = job.next_state = 'processing', returned = job.next_state = 'processing',
    failure_kind = case when job.next_state = 'failed' then job.reason end,
    failure_message = case when job.next_state = 'failed' then case job.reason when 'timeout' then $5 else $4 end end,
    finished_at = case when job.next_state <> 'processing' then kiln_now() end,
    -- An executor that still runs it may take it back, with the token it has, as long as nobody else has claimed it.
    token_sha256 = case when job.next_state = 'processing' then jobs.token_sha256 end
  from job where jobs.id = job.id
  returning jobs.id, jobs.queue, jobs.tenant, jobs.needs_limits, jobs.state, jobs.failure_kind, jobs.attempt,
    jobs.executor_name
), back as (
  select queue, tenant, count(*)::int as jobs, (count(*) filter (where not needs_limits))::int as plain
  from job where next_state = 'processing' group by queue, tenant
), counted as (
  update lanes set waiting = waiting + back.jobs, waiting_plain = waiting_plain + back.plain
  from back where lanes.queue = back.queue and lanes.tenant = back.tenant
)
select id, queue, state, failure_kind as "failureKind", attempt, executor_name as "executorName",
  (select pg_notify('kiln_job', string_agg(id::text, ',')) from changed where state <> 'processing') as notified_jobs,
  case when state = 'processing' then pg_notify('kiln_queue', queue) end as notified_queue
from changed
