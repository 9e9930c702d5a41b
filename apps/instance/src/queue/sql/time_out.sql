-- Jobs past their time limit, which their executor should have ended, are told to stop; $1 at most.
with candidate as materialized (
  -- In the order of the small index of running jobs, as in expire.sql.
  select id from jobs
  where state = 'processing' and not in_lane and not cancel_requested and deadline_at <= kiln_now()
  order by executor_name limit $1
), job as materialized (
  select id from jobs join candidate using (id)
  where state = 'processing' and not in_lane and not cancel_requested
  order by id for no key update of jobs skip locked
), changed as (
  update jobs set cancel_requested = true, cancel_requested_at = kiln_now(), cancel_reason = 'timeout'
  from job where jobs.id = job.id
  returning jobs.id
)
select id, (select pg_notify('kiln_job', string_agg(id::text, ',')) from changed) as notified from changed
