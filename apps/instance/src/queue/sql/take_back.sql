-- The rest of touch.sql, same first five parameters: takes back jobs whose lease ran out but which nobody else has
-- claimed, and says of the others why they are refused. Never waits: `held` says that somebody holds the job or its
-- lane.
with call as materialized (
  select * from unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[])
    with ordinality as call (id, queue, executor_name, attempt, place)
), job as materialized (
  select call.place, job.id, job.queue, job.tenant, job.needs_limits, job.in_lane, job.attempt, job.cancel_requested,
    case
      when job.queue <> call.queue then 'unknown'
      when call.attempt < job.attempt then 'stale'
      when job.state <> 'processing' or job.executor_name is distinct from call.executor_name
        or call.attempt > job.attempt then 'unknown'
    end as refused
  from call join jobs job on job.id = call.id order by job.id for no key update of job skip locked
), lane as materialized (
  select queue, tenant from lanes
  where (queue, tenant) in (select queue, tenant from job where refused is null and in_lane)
  order by queue, tenant for no key update skip locked
), keeping as materialized (
  select job.* from job left join lane using (queue, tenant)
  where refused is null and (not in_lane or lane.queue is not null)
), kept as (
  update jobs set
    in_lane = false, returned = false, lease_expires_at = kiln_now() + make_interval(secs => $5),
    confirm_by = null, unconfirmed = 0
  from keeping job where jobs.id = job.id
), counted as (
  update lanes set waiting = waiting - taken.jobs, waiting_plain = waiting_plain - taken.plain
  from (
    select queue, tenant, count(*)::int as jobs, (count(*) filter (where not needs_limits))::int as plain
    from keeping where in_lane group by queue, tenant
  ) taken
  where lanes.queue = taken.queue and lanes.tenant = taken.tenant
)
select call.place::int, job.attempt, job.cancel_requested as "cancelRequested",
  case
    when job.id is null then case when exists (select from jobs where id = call.id) then 'held' else 'unknown' end
    when job.refused is null and keeping.id is null then 'held'
    else job.refused
  end as refused
from call left join job using (place) left join keeping using (place)
