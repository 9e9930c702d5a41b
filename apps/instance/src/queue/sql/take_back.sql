-- The rest of touch.sql, same first five parameters: takes back jobs whose lease ran out but which nobody else has
-- claimed, and says of the others why they are refused.
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
  from call join jobs job on job.id = call.id order by job.id for no key update of job
), kept as (
  update jobs set
    in_lane = false, returned = false, lease_expires_at = kiln_now() + make_interval(secs => $5),
    confirm_by = null, unconfirmed = 0
  from job where jobs.id = job.id and job.refused is null
), lane as materialized (
  select lane.queue, lane.tenant, taken.jobs, taken.plain
  from lanes lane join (
    select queue, tenant, count(*)::int as jobs, (count(*) filter (where not needs_limits))::int as plain
    from job where refused is null and in_lane group by queue, tenant
  ) taken using (queue, tenant)
  order by lane.queue, lane.tenant for no key update of lane
), counted as (
  update lanes set waiting = waiting - lane.jobs, waiting_plain = waiting_plain - lane.plain
  from lane where lanes.queue = lane.queue and lanes.tenant = lane.tenant
)
select call.place::int, job.attempt, job.cancel_requested as "cancelRequested",
  case when job.id is null then 'unknown' else job.refused end as refused
from call left join job using (place)
