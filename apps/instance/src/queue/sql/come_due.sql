-- Delayed jobs whose time has come enter their lane, $1 at most.
with candidate as materialized (
  select id from jobs where state = 'queued' and not in_lane and available_at <= kiln_now()
  order by available_at limit $1
), job as materialized (
  select id, queue, tenant, needs_limits from jobs join candidate using (id)
  where state = 'queued' and not in_lane
  order by id for no key update of jobs skip locked
), changed as (
  update jobs set in_lane = true, available_at = null from job where jobs.id = job.id
), lane as materialized (
  select lane.queue, lane.tenant, due.jobs, due.plain
  from lanes lane join (
    select queue, tenant, count(*)::int as jobs, (count(*) filter (where not needs_limits))::int as plain
    from job group by queue, tenant
  ) due using (queue, tenant)
  order by lane.queue, lane.tenant for no key update of lane
), counted as (
  update lanes set waiting = waiting + lane.jobs, waiting_plain = waiting_plain + lane.plain
  from lane where lanes.queue = lane.queue and lanes.tenant = lane.tenant
)
select id, pg_notify('kiln_queue', queue) as notified from job
