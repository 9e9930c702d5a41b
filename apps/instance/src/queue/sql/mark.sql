-- Ends attempts: $1 job ids (each once), $2 executor names, $3 attempts or null, $4 marks, $5 messages, $6 usages;
-- $7 hours for which the same mark is accepted again; $8 start of the message with which an executor reports that
-- the job ran out of time.
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
  from call join jobs job on job.id = call.id order by job.id for no key update of job
), ended as (
  update jobs set
    state = job.next_state, in_lane = false, returned = false, final_mark = job.mark,
    failure_kind = job.failure_kind, failure_message = nullif(job.message, ''), usage = job.usage,
    lease_expires_at = null, confirm_by = null, finished_at = kiln_now()
  from job where jobs.id = job.id and job.verdict = 'accepted'
), lane as materialized (
  select lane.queue, lane.tenant, taken.jobs, taken.plain
  from lanes lane join (
    select queue, tenant, count(*)::int as jobs, (count(*) filter (where not needs_limits))::int as plain
    from job where verdict = 'accepted' and in_lane group by queue, tenant
  ) taken using (queue, tenant)
  order by lane.queue, lane.tenant for no key update of lane
), counted as (
  update lanes set waiting = waiting - lane.jobs, waiting_plain = waiting_plain - lane.plain
  from lane where lanes.queue = lane.queue and lanes.tenant = lane.tenant
)
select call.place::int, job.queue, coalesce(job.verdict, 'unknown') as verdict, job.failure_kind as "failureKind",
  case when job.verdict = 'accepted' then job.next_state else job.state end as state
from call left join job using (place)
