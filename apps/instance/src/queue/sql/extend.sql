-- After $1 seconds without an instance: leases that were alive at the last beat have $2 seconds beyond what was left
-- of them, but no more than $3 (lease) and $4 (confirmation) in all. The job's own time limit stood still as well.
with job as materialized (
  select id from jobs
  where state = 'processing' and not in_lane and lease_expires_at > kiln_now() - make_interval(secs => $1)
  -- A row that somebody holds is being marked or renewed; waiting for it would stop the sweep.
  for no key update skip locked
)
update jobs set
  lease_expires_at = least(
    lease_expires_at + make_interval(secs => $1::float8 + $2::float8), kiln_now() + make_interval(secs => $2::float8 + $3)),
  -- least() skips nulls, and a confirmed claim must stay one.
  confirm_by = case when confirm_by is not null then least(
    confirm_by + make_interval(secs => $1::float8 + $2::float8), kiln_now() + make_interval(secs => $2::float8 + $4)) end,
  deadline_at = deadline_at + make_interval(secs => $1)
from job where jobs.id = job.id and jobs.state = 'processing'
returning jobs.id
