-- A sign of life of attempts: $1 job ids, $2 queues or null, $3 executor names, $4 attempts or null; $5 lease in
-- seconds; $6 seconds below which the rest of a lease is renewed (a log write each second need not write the row).
-- Answers only for attempts that hold their job; what is missing is for take_back.sql, also rows that somebody holds.
with call as materialized (
  select * from unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[])
    with ordinality as call (id, queue, executor_name, attempt, place)
), known as materialized (
  select call.place, job.id, job.attempt, job.cancel_requested,
    job.confirm_by is not null or job.unconfirmed > 0
      or job.lease_expires_at < kiln_now() + make_interval(secs => $6) as is_due
  from call join jobs job on job.id = call.id
  where job.state = 'processing' and not job.in_lane and job.executor_name = call.executor_name
    and job.attempt = coalesce(call.attempt, job.attempt) and job.queue = coalesce(call.queue, job.queue)
), free as materialized (
  select jobs.id from known join jobs using (id) where is_due order by jobs.id for no key update of jobs skip locked
), renewed as (
  update jobs set
    lease_expires_at = kiln_now() + make_interval(secs => $5), confirm_by = null, unconfirmed = 0
  from known join free using (id)
  where jobs.id = known.id
    -- Checked again on the row as it is now: another instance may have changed it meanwhile.
    and jobs.state = 'processing' and not jobs.in_lane and jobs.attempt = known.attempt
  returning known.place
)
select place::int, attempt, cancel_requested as "cancelRequested"
from known where not is_due or place in (select place from renewed)
