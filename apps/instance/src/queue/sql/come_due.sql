-- Delayed jobs whose time has come enter their lane, $1 at most. Never waits, as expire.sql.
with candidate as materialized (
  select id, queue, tenant from jobs where state = 'queued' and not in_lane and available_at <= kiln_now()
  order by available_at limit $1
), lane as materialized (
  select queue, tenant from lanes
  where (queue, tenant) in (select queue, tenant from candidate)
  for no key update skip locked
), job as materialized (
  select id, queue, tenant, needs_limits
  from jobs join candidate using (id, queue, tenant) join lane using (queue, tenant)
  where state = 'queued' and not in_lane
  for no key update of jobs skip locked
), changed as (
  update jobs set in_lane = true, available_at = null from job where jobs.id = job.id
), due as (
  select queue, tenant, count(*)::int as jobs, (count(*) filter (where not needs_limits))::int as plain
  from job group by queue, tenant
), counted as (
  update lanes set waiting = waiting + due.jobs, waiting_plain = waiting_plain + due.plain
  from due where lanes.queue = due.queue and lanes.tenant = due.tenant
)
select id, pg_notify('kiln_queue', queue) as notified from job
