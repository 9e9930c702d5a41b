-- Claims up to $2 jobs of queue $1 for as many executors: $3 names, $4 token hashes, $5 whether they confirm,
-- $6 isolations; $7 lease, $8 confirmation and $9 deadline grace in seconds; $10 unconfirmed claims in a row that
-- count as a reset. claim_one.sql is the same for one executor; see ../claim-statements.ts.
--
-- One round over the lanes served longest ago, then the next round, as if each job were claimed alone. Never waits
-- for a lock: a lane or job that another instance is busy with is left to it.
with lane as materialized (
  select tenant, served from lanes where queue = $1 and waiting > 0
  order by served limit $2 for update skip locked
), share as (
  select ceil($2::float8 / greatest(count(*), 1))::int as jobs from lane
), locked as materialized (
  select lane.served, job.*
  from lane cross join share cross join lateral (
    select id, tenant, state, returned, priority, needs_limits, attempt, unconfirmed, executor_name, isolation,
      started_at, confirm_by
    from jobs
    where queue = $1 and tenant = lane.tenant and in_lane
    order by returned desc, priority desc, id limit share.jobs for update skip locked
  ) job
), placed as (
  select *, row_number() over (partition by tenant order by returned desc, priority desc, id) as place from locked
), picked as materialized (
  select *, row_number() over (order by place, served, tenant) as turn from placed
  order by place, served, tenant limit $2
), executor as (
  select * from unnest($3::text[], $4::bytea[], $5::boolean[], $6::jsonb[])
    with ordinality as executor (name, token_sha256, confirms, isolation, turn)
-- include claimed.sql
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
