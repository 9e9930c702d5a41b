-- No lease reaches further than $1 seconds; one that does was written by a clock that was ahead, in a time that no
-- beat saw. It gets $2 seconds (confirmation: $3).
with job as materialized (
  select id from jobs
  where state = 'processing' and not in_lane and lease_expires_at > kiln_now() + make_interval(secs => $1)
  for no key update skip locked
)
update jobs set
  lease_expires_at = least(lease_expires_at, kiln_now() + make_interval(secs => $2)),
  confirm_by = case when confirm_by is not null then least(confirm_by, kiln_now() + make_interval(secs => $3)) end,
  deadline_at = least(deadline_at, kiln_now() + (deadline_at - started_at))
from job where jobs.id = job.id and jobs.state = 'processing'
returning jobs.id
