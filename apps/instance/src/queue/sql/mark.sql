-- Ends attempts: $1 job ids (each once), $2 executor names, $3 attempts or null, $4 marks, $5 messages, $6 usages;
-- $7 hours for which the same mark is accepted again; $8 start of the message with which an executor reports that
-- the job ran out of time. Never waits: the verdict `held` says that somebody holds the job or its lane.
with call as materialized (
  select * from unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::jsonb[])
    with ordinality as call (id, executor_name, attempt, mark, message, usage, place)
), job as materialized (
  select call.place, call.mark, call.message, call.usage, job.id, job.queue, job.tenant, job.needs_limits, job.in_lane,
    job.state,
    case
      when call.attempt < job.attempt then 'stale'
      when job.executor_name is distinct from call.executor_name or call.attempt > job.attempt then 'unknown'
      when job.state = 'processing' then 'accepted'
      when job.final_mark is null or job.finished_at < kiln_now() - make_interval(hours => $7) then 'unknown'
      when job.final_mark = call.mark then 'repeated'
      else 'different'
    end as verdict,
    case
      when call.mark = 'complete' then 'completed'
      when job.cancel_reason = 'user' then 'canceled'
      else 'failed'
    end as next_state,
    case
      when call.mark = 'complete' or job.cancel_reason = 'user' then null
      when job.cancel_reason = 'timeout' or starts_with(call.message, $8) then 'timeout'
      else call.mark
    end as failure_kind
  from call join jobs job on job.id = call.id order by job.id for no key update of job skip locked
), lane as materialized (
  select queue, tenant from lanes
  where (queue, tenant) in (select queue, tenant from job where verdict = 'accepted' and in_lane)
  order by queue, tenant for no key update skip locked
), ending as materialized (
  select job.* from job left join lane using (queue, tenant)
  where verdict = 'accepted' and (not in_lane or lane.queue is not null)
), ended as (
  update jobs set
    state = job.next_state, in_lane = false, returned = false, final_mark = job.mark,
    failure_kind = job.failure_kind, failure_message = nullif(job.message, ''), usage = job.usage,
    lease_expires_at = null, confirm_by = null, finished_at = kiln_now()
  from ending job where jobs.id = job.id
), counted as (
  update lanes set waiting = waiting - taken.jobs, waiting_plain = waiting_plain - taken.plain
  from (
    select queue, tenant, count(*)::int as jobs, (count(*) filter (where not needs_limits))::int as plain
    from ending where in_lane group by queue, tenant
  ) taken
  where lanes.queue = taken.queue and lanes.tenant = taken.tenant
)
select call.place::int, job.queue, job.failure_kind as "failureKind",
  case
    when job.id is null then case when exists (select from jobs where id = call.id) then 'held' else 'unknown' end
    when job.verdict = 'accepted' and ending.id is null then 'held'
    else job.verdict
  end as verdict,
  case when job.verdict = 'accepted' then job.next_state else job.state end as state
from call left join job using (place) left join ending using (place)
