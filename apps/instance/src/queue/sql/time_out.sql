-- Jobs past their time limit, which their executor should have ended, are told to stop; $1 at most.
with job as materialized (
  select id from jobs
  where state = 'processing' and not in_lane and not cancel_requested and deadline_at <= kiln_now()
  order by id limit $1 for no key update skip locked
), changed as (
  update jobs set cancel_requested = true, cancel_requested_at = kiln_now(), cancel_reason = 'timeout'
  from job where jobs.id = job.id
  returning jobs.id
)
select id, (select pg_notify('kiln_job', string_agg(id::text, ',')) from changed) as notified from changed
