-- Claims up to $2 jobs of queue $1 for as many executors: $3 names, $4 token hashes, $5 whether they confirm,
-- $6 isolations. $7 whether they know `limits` (the same for all); $8 lease, $9 confirmation and $10 deadline grace
-- in seconds; $11 unconfirmed claims in a row that count as a reset.
--
-- One round over the lanes served longest ago, then the next round, as if each job were claimed alone. Never waits
-- for a lock: a lane or job that another instance is busy with is left to it.
with lane as materialized (
  -- Two arms instead of one condition: each has its own partial index, also in a generic plan.
  select * from (
    select tenant, served from lanes where $7 and queue = $1 and waiting > 0
    order by served limit $2 for update skip locked
  ) any_job
  union all
  select * from (
    select tenant, served from lanes where not $7 and queue = $1 and waiting_plain > 0
    order by served limit $2 for update skip locked
  ) plain_job
), share as (
  select ceil($2::float8 / greatest(count(*), 1))::int as jobs from lane
), locked as materialized (
  select lane.served, job.*
  from lane cross join share cross join lateral (
    select * from (
      select id, tenant, state, returned, priority, needs_limits, attempt, unconfirmed, executor_name, isolation,
        started_at, lease_expires_at, confirm_by
      from jobs
      where $7 and queue = $1 and tenant = lane.tenant and in_lane
      order by returned desc, priority desc, id limit share.jobs for update skip locked
    ) any_job
    union all
    select * from (
      select id, tenant, state, returned, priority, needs_limits, attempt, unconfirmed, executor_name, isolation,
        started_at, lease_expires_at, confirm_by
      from jobs
      where not $7 and queue = $1 and tenant = lane.tenant and in_lane and not needs_limits
      order by returned desc, priority desc, id limit share.jobs for update skip locked
    ) plain_job
  ) job
), placed as (
  select *, row_number() over (partition by tenant order by returned desc, priority desc, id) as place from locked
), picked as materialized (
  select *, row_number() over (order by place, served, tenant) as turn from placed
  order by place, served, tenant limit $2
), ended_attempts as (
  insert into past_attempts (job_id, attempt, executor_name, isolation, started_at, ended_at, ended)
  select id, attempt, executor_name, isolation, started_at, kiln_now(),
    case when confirm_by is null then 'lost' else 'unconfirmed' end
  from picked where state = 'processing'
), executor as (
  select * from unnest($3::text[], $4::bytea[], $5::boolean[], $6::jsonb[])
    with ordinality as executor (name, token_sha256, confirms, isolation, turn)
), claimed as (
  update jobs set
    state = 'processing', in_lane = false, returned = false, attempt = jobs.attempt + 1,
    resets = jobs.resets + case
      when picked.state <> 'processing' then 0
      when picked.confirm_by is null or picked.unconfirmed + 1 >= $11 then 1
      else 0 end,
    unconfirmed = case
      when picked.state <> 'processing' then jobs.unconfirmed
      when picked.confirm_by is null or picked.unconfirmed + 1 >= $11 then 0
      else picked.unconfirmed + 1 end,
    executor_name = executor.name, token_sha256 = executor.token_sha256, isolation = executor.isolation,
    lease_expires_at = kiln_now() + make_interval(secs => $8),
    confirm_by = case when executor.confirms then kiln_now() + make_interval(secs => $9) end,
    deadline_at = kiln_now() + make_interval(secs => jobs.timeout_seconds + $10),
    available_at = null, started_at = kiln_now()
  from picked join executor using (turn)
  where jobs.id = picked.id
  returning jobs.id, jobs.attempt, jobs.producer, jobs.timeout_seconds, jobs.queued_at, executor.turn
), turns as (
  select nextval('lane_turns') as base
), served as (
  update lanes set
    waiting = waiting - taken.jobs, waiting_plain = waiting_plain - taken.plain, served = turns.base + taken.turn
  from (
    select tenant, count(*)::int as jobs, (count(*) filter (where not needs_limits))::int as plain, max(turn) as turn
    from picked group by tenant
  ) taken, turns
  where lanes.queue = $1 and lanes.tenant = taken.tenant
    -- Says the same again, so that lanes are found by their key: without it the plan for any $2 reads all of them.
    and lanes.tenant = any (array(select tenant from picked))
)
select claimed.id, attempt, producer, timeout_seconds as "timeoutSeconds", claimed.turn,
  extract(epoch from kiln_now() - queued_at)::float8 as "queuedSeconds"
from claimed order by claimed.turn
