-- Jobs of one lane with their producer's records: $1 queue, $2 tenant, $3 producer; of each job: $4 priority, $5 needs
-- limits, $6 timeout in seconds, $7 repository name, $8 record. `-- record` stands for the producer's insert, which
-- reads `call (id, record)`. The lane is locked last, until the commit.
with call as materialized (
  select *, nextval('jobs_id_seq') as id
  from unnest($4::smallint[], $5::boolean[], $6::int[], $7::text[], $8::jsonb[])
    with ordinality as call (priority, needs_limits, timeout_seconds, repository_name, record, place)
), job as (
  insert into jobs (id, queue, tenant, producer, in_lane, priority, needs_limits, timeout_seconds, repository_name)
  overriding system value
  select id, $1, $2, $3, true, priority, needs_limits, timeout_seconds, repository_name from call
  returning id, queued_at
-- record
), lane as (
  insert into lanes as lane (queue, tenant, waiting, waiting_plain)
  select $1, $2, count(*)::int, (count(*) filter (where not needs_limits))::int from call
  on conflict (queue, tenant) do update
    set waiting = lane.waiting + excluded.waiting, waiting_plain = lane.waiting_plain + excluded.waiting_plain
  returning waiting
)
select call.place::int, job.id, job.queued_at as "queuedAt",
  (select waiting from lane) - (select count(*) from call)::int as "waitingBefore"
from call join job using (id) order by call.place
