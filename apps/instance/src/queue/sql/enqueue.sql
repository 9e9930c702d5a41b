-- $1 queue, $2 tenant, $3 producer, $4 priority, $5 needs limits, $6 timeout in seconds, $7 repository name
with job as (
  insert into jobs (queue, tenant, producer, in_lane, priority, needs_limits, timeout_seconds, repository_name)
  values ($1, $2, $3, true, $4, $5, $6, $7)
  returning id, queue, tenant, needs_limits
), lane as (
  insert into lanes as lane (queue, tenant, waiting, waiting_plain)
  select queue, tenant, 1, (not needs_limits)::int from job
  on conflict (queue, tenant) do update
    set waiting = lane.waiting + 1, waiting_plain = lane.waiting_plain + excluded.waiting_plain
)
select id, pg_notify('kiln_queue', queue) from job
