-- The clock was set back by $1 seconds: what was due in a while is due in the same while again.
with job as materialized (
  select id from jobs where state = 'processing' or state = 'queued' and not in_lane
  for no key update skip locked
)
update jobs set
  lease_expires_at = lease_expires_at - make_interval(secs => $1), confirm_by = confirm_by - make_interval(secs => $1),
  deadline_at = deadline_at - make_interval(secs => $1),
  cancel_requested_at = cancel_requested_at - make_interval(secs => $1),
  available_at = available_at - make_interval(secs => $1)
from job
-- Says the same again, so that the small indexes are used here too.
where jobs.id = job.id and (jobs.state = 'processing' or jobs.state = 'queued' and not jobs.in_lane)
returning jobs.id
